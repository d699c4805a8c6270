"""Dense networks: immutable data."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lipgd import _core, activations, initialization
from lipgd._arguments import inputs_of
from lipgd._check import flag, integer, number, shown
from lipgd._files import read_npz, write_npz
from lipgd._layout import Parameters
from lipgd._threads import thread_choice
from lipgd.activations import Activation
from lipgd.types import ArrayLike, FloatArray

__all__ = ["Network"]

_KIND, _VERSION = "lipgd network", 1


class Network(Parameters):
    """A dense network of matrices, biases and one activation.

    Its outputs are ``output_scale * (W_L s(... s(W_1 x + b_1) ...) + b_L)``.

    The two-layer network of the papers, ``B.T @ s(W x + b) + c``, has two weight matrices:
    ``weights[0]`` is W and ``weights[1].T`` is B. Networks are immutable, compare by value and can
    be pickled; every method may be called from several threads at once.

    Parameters
    ----------
    weights : sequence of array_like, each (n_outputs, n_inputs) of its layer
        At least one. All float32 makes a float32 network, else it is float64.
    biases : sequence of (array_like (n_outputs,) or None), optional
        One per layer; None leaves a bias out for good. Without the argument there are no biases.
    activation : str or Activation
        The function between the layers, see :func:`lipgd.activations.get`.
    output_scale : float
        The factor of the output, such as 1 / width for mean-field networks.

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit together or dtypes are not real numbers.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> net = lipgd.Network([[[1.0, -1.0]], [[2.0]]], activation="relu")
    >>> net(np.array([[3.0, 1.0]]))
    array([[4.]])
    """

    __slots__ = ("_activation", "_call", "_init", "_output_scale")

    _activation: Activation
    _output_scale: float
    _init: str | None
    _call: tuple[Any, ...]

    def __init__(
        self,
        weights: Sequence[ArrayLike],
        biases: Sequence[ArrayLike | None] | None = None,
        activation: str | Activation = "relu",
        output_scale: float = 1.0,
    ) -> None:
        super().__init__(weights, biases)
        self._describe(activations.get(activation), number("output_scale", output_scale))

    def _describe(self, activation: Activation, output_scale: float) -> None:
        set_ = object.__setattr__
        set_(self, "_activation", activation)
        set_(self, "_output_scale", output_scale)
        set_(self, "_init", None)
        layout = self._layout
        call = (
            list(layout.sizes),
            list(layout.has_bias),
            activation.kind,
            activation.parameter,
            activation.mix,
            output_scale,
        )
        set_(self, "_call", call)

    @classmethod
    def create(
        cls,
        sizes: Sequence[int],
        activation: str | Activation = "relu",
        init: str = "he_normal",
        seed: int | np.random.Generator = 0,
        dtype: npt.DTypeLike = np.float64,
        output_scale: float | None = None,
        biases: bool = True,
    ) -> Network:
        """Draw a network at random.

        Parameters
        ----------
        sizes : sequence of int
            Inputs, hidden widths, outputs: ``[10, 200, 1]``.
        activation : str or Activation
            See :func:`lipgd.activations.get`.
        init : str
            The law of the weights: ``"he_normal"``, ``"glorot_uniform"``, ``"lecun_normal"``,
            ``"normal(0.1)"``, ``"torch"``, ``"mean_field"``, ``"mean_field_balanced"``, ...; see
            :func:`lipgd.initialization.weights_and_biases`.
        seed : int or numpy.random.Generator
            The same seed gives the same numbers, rounded, in both precisions.
        dtype : float64 or float32
            The precision of parameters, training and predictions.
        output_scale : float, optional
            The factor of the output: 1 by default, 1 / (last hidden width) for mean-field laws.
        biases : bool
            Whether the layers have biases.

        Returns
        -------
        Network

        Examples
        --------
        >>> import lipgd
        >>> lipgd.Network.create([10, 200, 1], activation="silu", seed=1)
        Network(10-200-1, silu, float64, 2401 parameters)
        """
        widths = _sizes(sizes)
        flag("biases", biases)
        precision = _dtype(dtype)
        rng = seed if isinstance(seed, np.random.Generator) else _generator(seed)
        drawn_weights, drawn_biases = initialization.weights_and_biases(init, widths, rng)
        if output_scale is None:
            mean_field = init.strip().startswith("mean_field") and len(widths) > 2
            output_scale = 1 / widths[-2] if mean_field else 1.0
        net = cls(
            [matrix.astype(precision) for matrix in drawn_weights],
            [bias.astype(precision) for bias in drawn_biases] if biases else None,
            activation,
            output_scale,
        )
        object.__setattr__(net, "_init", init)
        return net

    @property
    def activation(self) -> Activation:
        """The function between the layers."""
        return self._activation

    @property
    def output_scale(self) -> float:
        """The factor of the output."""
        return self._output_scale

    @property
    def init(self) -> str | None:
        """The law that :meth:`create` drew the parameters from; None for any other network.

        It belongs to the object alone: it does not count in comparisons, and files do not keep it.
        """
        return self._init

    @property
    def depth(self) -> int:
        """The number of weight matrices."""
        return len(self._layout.sizes) - 1

    @property
    def n_inputs(self) -> int:
        """The number of inputs."""
        return self._layout.sizes[0]

    @property
    def n_outputs(self) -> int:
        """The number of outputs."""
        return self._layout.sizes[-1]

    def __call__(self, X: ArrayLike, *, n_threads: int | None = None) -> FloatArray:
        """Return the outputs.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_inputs)
            Samples; float32 and float64 with any strides are read in place.
        n_threads : int, optional
            Threads to use; by default what the process may use. It does not change a bit.

        Returns
        -------
        ndarray, shape (n_samples, n_outputs), of the network's dtype
        """
        x = inputs_of("X", X, self.n_inputs, allow_empty=True)
        result: FloatArray = _core.forward(self._call, self._flat, x, *thread_choice(n_threads))
        return result

    def jacobian(self, X: ArrayLike, *, n_threads: int | None = None) -> FloatArray:
        """Return the derivatives of the outputs by the inputs.

        At a kink of the activation the slope is the one that automatic differentiation takes.

        Parameters
        ----------
        X : array_like, shape (n_samples, n_inputs)
            Samples.
        n_threads : int, optional
            Threads to use; by default what the process may use.

        Returns
        -------
        ndarray, shape (n_samples, n_outputs, n_inputs), of the network's dtype

        Examples
        --------
        >>> import numpy as np, lipgd
        >>> net = lipgd.Network([[[1.0, -1.0]], [[2.0]]], activation="relu")
        >>> net.jacobian(np.array([[3.0, 1.0]]))
        array([[[ 2., -2.]]])
        """
        x = inputs_of("X", X, self.n_inputs, allow_empty=True)
        result: FloatArray = _core.jacobian(self._call, self._flat, x, *thread_choice(n_threads))
        return result

    def replace(self, **changes: Any) -> Network:
        """Return a network with some arguments of :class:`Network` exchanged.

        Parameters
        ----------
        **changes
            Any of ``weights``, ``biases``, ``activation``, ``output_scale``.

        Examples
        --------
        >>> import lipgd
        >>> lipgd.Network.create([2, 3, 1]).replace(activation="tanh").activation.name
        'tanh'
        """
        arguments = {
            "weights": self.weights,
            "biases": self.biases,
            "activation": self.activation,
            "output_scale": self.output_scale,
        }
        unknown = sorted(set(changes) - set(arguments))
        if unknown:
            raise TypeError(f"{unknown[0]} is not a part of a network, expected {list(arguments)}")
        return Network(**{**arguments, **changes})

    def copy(self) -> Network:
        """Return the network itself: it cannot change."""
        return self

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network to an ``.npz`` file, whole or not at all, without pickle.

        The arrays are named ``W1``, ``b1``, ``W2``, ... beside ``activation`` and ``output_scale``;
        NumPy reads them too.

        Parameters
        ----------
        path : path-like
            The file; one that exists is replaced.
        """
        arrays: dict[str, npt.ArrayLike] = dict(self.named())
        arrays["activation"] = self.activation.name
        arrays["output_scale"] = np.float64(self.output_scale)
        write_npz(path, arrays, _KIND, _VERSION)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Network:
        """Read a network that :meth:`save` wrote.

        Sizes are checked before memory is taken, and nothing in the file is executed.

        Parameters
        ----------
        path : path-like
            The file.

        Raises
        ------
        ValueError
            If the file is damaged, hostile, of another kind or of a later version.
        """
        arrays = read_npz(path, _KIND, _VERSION)
        try:
            activation, scale = str(arrays.pop("activation")[()]), arrays.pop("output_scale")
            depth = sum(name.startswith("W") for name in arrays)
            weights = [arrays.pop(f"W{layer}") for layer in range(1, depth + 1)]
            biases = [arrays.pop(f"b{layer}", None) for layer in range(1, depth + 1)]
            if arrays:
                raise ValueError(f"it has an unknown entry {min(arrays)!r}")
            return Network(weights, biases, activation, number("output_scale", scale))
        except (KeyError, TypeError, ValueError) as error:
            name = os.fspath(path)
            raise ValueError(f"{name} is not a readable {_KIND} file: {error}") from error

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Network):
            return NotImplemented
        return (
            self._same_parameters(other)
            and self._activation == other._activation
            and self._output_scale == other._output_scale
        )

    __hash__ = None  # type: ignore[assignment]  # equal by value, and arrays have no hash

    def __repr__(self) -> str:
        sizes = "-".join(str(size) for size in self.sizes)
        scale = "" if self.output_scale == 1 else f", output scale {self.output_scale:.6g}"
        return (
            f"Network({sizes}, {self.activation.name}, {self.dtype}, "
            f"{self.n_parameters} parameters{scale})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return Network, (self.weights, self.biases, self.activation, self.output_scale)

    def _with_flat(self, flat: FloatArray) -> Network:
        """Return this network with other values of its parameters, which are not copied."""
        net = object.__new__(Network)
        net._adopt(self._layout, flat)
        net._describe(self._activation, self._output_scale)
        return net


def _sizes(sizes: Any) -> list[int]:
    if isinstance(sizes, (str, bytes)) or not hasattr(sizes, "__len__") or len(sizes) < 2:
        raise ValueError(f"sizes is {shown(sizes)}, expected inputs, hidden widths and outputs")
    return [integer(f"sizes[{i}]", size, at_least=1) for i, size in enumerate(sizes)]


def _generator(seed: Any) -> np.random.Generator:
    if isinstance(seed, np.random.RandomState):
        raise TypeError("seed is a RandomState, expected an integer or a numpy.random.Generator")
    return np.random.default_rng(integer("seed", seed, at_least=0))


def _dtype(dtype: npt.DTypeLike | None) -> np.dtype[Any]:
    try:
        precision = np.dtype(dtype)
    except TypeError as error:
        raise TypeError(f"dtype is {dtype!r}, expected float64 or float32") from error
    if dtype is None or precision not in (np.float32, np.float64):
        raise ValueError(f"dtype is {dtype!r}, expected float64 or float32")
    return precision
