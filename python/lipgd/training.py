"""Gradient descent: the only verb that changes parameters."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping

from lipgd._check import flag, integer, shown
from lipgd._checkpoint import check_target
from lipgd._descent import Descent
from lipgd._plan import make_plan
from lipgd._recording import Recording
from lipgd.constraints import LipschitzTarget, RateCaps
from lipgd.losses import Loss
from lipgd.network import Network
from lipgd.run import Run, Snapshot
from lipgd.schedules import ScheduleLike
from lipgd.types import ArrayLike

__all__ = ["train"]


def train(
    net: Network,
    X: ArrayLike,
    y: ArrayLike,
    *,
    loss: str | Loss = "mse",
    rate: ScheduleLike | Mapping[str, ScheduleLike] = 0.01,
    steps: int = 1000,
    constraint: LipschitzTarget | RateCaps | None = None,
    update: str = "gradient",
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float | Mapping[str, float] = 0.0,
    clip_norm: float | Mapping[str, float] | None = None,
    proximal: Mapping[str, tuple[str, float]] | None = None,
    batch_size: int | None = None,
    sampling: str = "independent",
    shuffle_seed: int = 0,
    frozen: Iterable[str] = (),
    sample_weight: ArrayLike | None = None,
    validation: tuple[ArrayLike, ArrayLike] | None = None,
    points: ArrayLike | None = None,
    record: Iterable[str] = ("risk",),
    record_every: int = 1,
    dynamics: Recording | None = None,
    tolerance: float = 0.0,
    callback: Callable[[Snapshot], object] | None = None,
    callback_every: int | None = None,
    progress: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    resume: str | os.PathLike[str] | None = None,
    n_threads: int | None = None,
) -> Run:
    """Train a network by gradient descent.

    A step is ``v = momentum * v + g + weight_decay * theta; theta -= rate * v`` with the gradient g
    of the risk over the batch; with ``nesterov`` it is
    ``theta -= rate * (g + weight_decay * theta + momentum * v)``. The result does not depend on the
    number of threads, on the machine's load or on interruptions, bit for bit.

    Parameters
    ----------
    net : Network
        Where to start; it is not changed.
    X : array_like, shape (n_samples, n_inputs)
        Samples; float32 and float64 are read in place, from memory-mapped files too.
    y : array_like, shape (n_samples,) or (n_samples, n_outputs)
        Values; -1 or +1 for the logistic loss; integer labels (n_samples,) for cross_entropy.
    loss : str or Loss
        See :func:`lipgd.losses.get`.
    rate : number, Schedule, callable, array of shape (steps,), or mapping of these
        The learning rate, a map from the step (0, 1, ...) to a number >= 0. A mapping gives every
        trained parameter its own, by the names ``"W1"``, ``"b1"``, ``"W2"``, ...
    steps : int
        The number of steps.
    constraint : LipschitzTarget or RateCaps, optional
        A Lipschitz constant to keep at every step, or caps on the learning rates.
    update : str
        ``"gradient"``; ``"sign"`` (of the gradient, with momentum of v); ``"adam"`` (decay rates
        0.9 and 0.999, epsilon 1e-8); ``"conjugate_gradient"`` (Polak-Ribiere, restarted where its
        factor would be negative).
    momentum : float
        From 0 to below 1 (heavy ball).
    nesterov : bool
        Look ahead; needs momentum.
    weight_decay : float or mapping of str to float
        Strength >= 0, coupled to the gradient; a mapping decays the parameters that it names.
    clip_norm : float or mapping of str to float, optional
        The largest norm of the gradient; a number clips the whole gradient, a mapping the
        parameters that it names. The clipped gradient enters momentum.
    proximal : mapping of str to (str, float), optional
        Penalties by parameter, applied after each step with the step's rate: ``("l1", strength)``,
        ``("nuclear", strength)`` or ``("frobenius", strength)``.
    batch_size : int, optional
        Samples per step; by default all of them.
    sampling : str
        ``"independent"`` (a fresh subset per step), ``"replacement"`` or ``"reshuffled"`` (epochs;
        the last batch of an epoch has what is left).
    shuffle_seed : int
        Seed of the batches.
    frozen : iterable of str
        Parameters that stay as they are: ``("W2", "b2")``.
    sample_weight : array_like, shape (n_samples,), optional
        Weights >= 0, scaled to mean one.
    validation : pair of array_like, optional
        ``(X, y)`` of the validation risk.
    points : array_like, shape (n_points, n_inputs), optional
        Where the Jacobians of ``lipschitz_lower`` are taken; by default the samples.
    record : iterable of str
        What the history holds: ``risk``, ``gradient_norm``, ``gradient_norm:W1``, ``rate:W1``,
        ``spectral_norm:W1`` (an upper bound), ``spectral_norm_lower:W1``, ``lipschitz_upper``
        (product of spectral norms and activation constants, an upper bound),
        ``lipschitz_upper_sdp`` (within 0.1 % of the optimum of LipSDP-Neuron, a tighter upper
        bound; infinite if nothing was proved), ``lipschitz_lower`` (largest Jacobian norm over the
        points), ``validation_risk``, ``parameter_norm``, ``displacement``, ``displacement:W1``,
        ``path_length:W1``. Risk and gradient norms are those over all samples, also with batches;
        the norm of all parameters leaves out frozen ones.

        For the logistic loss and one output, in float64 and right where the risk underflows
        (large-stepsize.md, section 4): ``log_risk``; ``margin`` (the smallest ``y f(x)``), the
        ``normalized_margin``, ``smoothed_margin`` and ``modified_margin``, divided by the norm of
        the trained parameters to the power of the number of trained weight matrices;
        ``homogeneity_error`` (kappa_t of section 4.1); ``margin_direction`` and ``margin_scaling``,
        whose sum is the change of log smoothed_margin by the step that follows (NaN in the last row
        and where that margin is not positive).

        ``sharpness`` (the largest eigenvalue of the Hessian over all samples, by Lanczos' process
        that starts from the last row) and ``sharpness_residual``, within which of it there is an
        eigenvalue, a thousandth of it or less.

        ``lipschitz_dynamics`` is a group of columns for :func:`lipgd.dynamics.predict`: the
        coefficients of :func:`lipgd.dynamics.coefficients` for the step after the row (after the
        last row, for one more step at the last rate), of the network and of each layer:
        ``dynamics_mu``, ``dynamics_mu:W1``, ...; ``kappa``, ``lambda2`` (for reshuffled epochs with
        the factor phi of independent batches), ``psi``, ``pair`` (what the pair term 10.1 adds to
        kappa and psi), ``kappa_diagonal``, ``lambda2_diagonal``; ``log_norm``, the observed log
        norms; ``epoch``, what reshuffled epochs add beside phi (the derivative of half the trace of
        the samples' covariance along the Jacobian); ``pathwise``, the second order of
        the actual changes between rows (9.1), summed. Of layers alone: ``gap``, ``degeneracy``,
        ``pair_share``. ``dynamics_first_order``, the first order of every step with the leading
        singular pair at that step, summed, can be recorded alone, for any update.
    record_every : int
        A row is the state before step 0, k, 2k, ...; one more is the state after the last step.
    dynamics : Recording, optional
        How ``lipschitz_dynamics`` is measured: on probes, or only where the layers have moved.
    tolerance : float
        Stop when the norm of the full gradient is at most this; 0 never stops. With batches it is
        checked where rows are written.
    callback : callable, optional
        Called with a :class:`lipgd.run.Snapshot` about every 50 ms; a true answer stops the
        training.
    callback_every : int, optional
        Steps between the calls of the callback, instead of the clock: a callback that decides by
        what it sees then stops at the same step on every machine.
    progress : bool
        Show a progress bar on stderr.
    checkpoint : path-like, optional
        A file that holds the state of the training, replaced at intervals and at the end.
    checkpoint_every : int, optional
        Steps between checkpoints; by default a minute.
    resume : path-like, optional
        A checkpoint of a training with the same arguments to go on from; ``steps`` may differ. The
        result has the same bits as a run without interruption.
    n_threads : int, optional
        Threads to use; by default what the process may use, shared fairly between trainings that
        run at the same time.

    Returns
    -------
    Run
        A training that diverges or is interrupted by Ctrl-C is returned too, with the last good
        network and the history up to there; its status tells.

    Raises
    ------
    TypeError, ValueError
        For bad arguments or data, before any work.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (50, 2))
    >>> y = np.sin(X[:, 0]) + X[:, 1]
    >>> net = lipgd.Network.create([2, 32, 1], activation="silu")
    >>> run = lipgd.train(net, X, y, rate=0.1, steps=500, record=["risk", "lipschitz_upper"])
    >>> run.status, bool(run.history["risk"][-1] < 0.1 * run.history["risk"][0])
    ('finished', True)
    """
    plan = make_plan(
        net,
        X,
        y,
        loss=loss,
        rate=rate,
        steps=steps,
        constraint=constraint,
        update=update,
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
        clip_norm=clip_norm,
        proximal=proximal,
        batch_size=batch_size,
        sampling=sampling,
        shuffle_seed=shuffle_seed,
        frozen=frozen,
        sample_weight=sample_weight,
        validation=validation,
        points=points,
        record=record,
        record_every=record_every,
        dynamics=dynamics,
        tolerance=tolerance,
        checkpoint_every=checkpoint_every,
        n_threads=n_threads,
    )
    if callback is not None and not callable(callback):
        raise TypeError(f"callback is {shown(callback)}, expected a function of a Snapshot")
    if callback_every is not None:
        integer("callback_every", callback_every, at_least=1)
        if callback is None:
            raise ValueError(f"callback_every is {callback_every}, but callback is missing")
    flag("progress", progress)
    if checkpoint is not None:
        check_target(checkpoint)
    elif checkpoint_every is not None:
        raise ValueError(f"checkpoint_every is {checkpoint_every}, but checkpoint is missing")
    descent = Descent(plan, checkpoint, checkpoint_every, callback, callback_every)
    if resume is not None:
        descent.resume(resume)
    return descent.run(progress)
