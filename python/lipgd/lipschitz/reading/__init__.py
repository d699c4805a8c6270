"""Networks from anywhere: one function that reads them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from lipgd import activations
from lipgd._check import shown
from lipgd.lipschitz._model import Model, of_network
from lipgd.network import Network

from . import _files, _onnx, _sklearn, _torch

__all__ = ["read"]

_KINDS = (
    "a Network, a Run, a list of matrices, a fitted scikit-learn MLP, a PyTorch module or "
    "state_dict, or a file that ends in .npz, .mat, .onnx, .pt or .pth"
)


def read(source: Any, activation: Any = None) -> Model:
    """Read a network from anywhere, for :func:`upper`, :func:`lower` and :func:`audit`.

    Parameters
    ----------
    source : object
        A :class:`lipgd.Network` or :class:`lipgd.Run`; a list of matrices (n_outputs, n_inputs) or
        a pair (matrices, biases); a fitted ``MLPRegressor`` or ``MLPClassifier`` of scikit-learn,
        also at the end of a pipeline of scalers; a PyTorch module whose forward is a chain of
        dense layers, batch normalizations and activations; a ``state_dict``; a file: ``.npz`` of
        lipgd or of anybody, ``.mat`` with a cell ``weights``, ``.onnx``, ``.pt`` of a state_dict.
    activation : str, Activation or a list of one per hidden layer, optional
        Needed where the source does not say: matrices, state dictionaries, plain files.

    Returns
    -------
    Model
        Softmax or a sigmoid that turns logits into probabilities for scikit-learn is left out, and
        its ``notes`` say so; other functions at the output are layers like others.

    Raises
    ------
    ValueError
        If the source has a layer that cannot be treated: the message names it and says why. If the
        file is damaged or keeps data outside, or if the activation is missing or contradicts.
    TypeError
        If the source is of no such kind.
    ImportError
        If a library that the file needs is missing: it names the extra.

    References
    ----------
    certificates.md, section 1.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> rng = np.random.default_rng(0)
    >>> weights = [rng.normal(size=(20, 5)), rng.normal(size=(3, 20))]
    >>> lipgd.lipschitz.read(weights, activation="relu")
    Model(5-20-3, relu, from the list of matrices)
    """
    if isinstance(source, Model):
        return _own(source, activation)
    network = getattr(source, "network", source)
    if isinstance(network, Network):
        return _own(of_network(network), activation)
    if isinstance(source, (str, os.PathLike)):
        return _file(os.fspath(source), activation)
    if _torch.is_module(source):
        return _own(_torch.read_module(source), activation)
    if isinstance(source, Mapping):
        return _torch.read_state(source, _stated("a state_dict", activation))
    if _sklearn.is_estimator(source):
        return _own(_estimator(source), activation)
    if isinstance(source, (list, tuple)):
        return _matrices(source, activation)
    raise TypeError(f"source is {shown(source)}, expected {_KINDS}")


def _estimator(source: Any) -> Model:
    network = getattr(source, "network_", None)
    return of_network(network) if isinstance(network, Network) else _sklearn.read_estimator(source)


def _file(path: str, activation: Any) -> Model:
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in (".npz", ".mat", ".onnx", ".pt", ".pth"):
        raise ValueError(
            f"source is {path!r}, expected a name that ends in .npz, .mat, .onnx, .pt or .pth"
        )
    with open(path, "rb"):  # a message of the system if it is not there
        pass
    if suffix == ".onnx":
        return _own(_onnx.read_onnx(path), activation)
    if suffix == ".npz" and _files.is_network_file(path):
        return _own(of_network(Network.load(path)), activation)
    if suffix == ".npz":
        return _files.read_npz_arrays(path, _stated(path, activation))
    if suffix == ".mat":
        return _files.read_mat(path, _stated(path, activation))
    return _torch.read_state(_files.load_state(path), _stated(path, activation))


def _matrices(source: Any, activation: Any) -> Model:
    weights, biases = source, None
    paired = len(source) == 2 and all(isinstance(part, (list, tuple)) for part in source)
    if paired and isinstance(source, tuple):
        weights, biases = source
    count = len(weights)
    chosen = _stated("the list of matrices", activation) if count > 1 else activation
    return _files.read_arrays(weights, biases, chosen, "the list of matrices")


def _stated(source: str, activation: Any) -> Any:
    """Return the activation that a source needs beside it, or raise."""
    if activation is None:
        raise ValueError(
            f"activation is None, but {source} does not say it, expected a name such as 'relu': "
            "lipgd.lipschitz.read takes it"
        )
    if isinstance(activation, (list, tuple)):
        return [activations.get(each) for each in activation]
    return activations.get(activation)


def _own(model: Model, activation: Any) -> Model:
    """Return a model that knows its activations, unless another one was given."""
    if activation is None:
        return model
    listed = isinstance(activation, (list, tuple))
    given = [activations.get(a) for a in (activation if listed else [activation])]
    own = list(model.activations)
    if own not in (given, given * len(own)):
        raise ValueError(
            f"activation is {shown([a.name for a in given])}, but {model.source} has "
            f"{shown([a.name for a in own])}"
        )
    return model
