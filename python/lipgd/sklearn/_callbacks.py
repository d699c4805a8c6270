"""The callbacks of scikit-learn 1.9, and nothing in their place for older versions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["CallbackSupport", "Tasks", "with_callbacks"]

try:
    from sklearn.callback import CallbackSupportMixin as CallbackSupport
    from sklearn.callback import with_callbacks
except ImportError:

    class CallbackSupport:  # type: ignore[no-redef]
        """Stands for the mixin that this version of scikit-learn does not have."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        """Return the method itself."""
        return method


class Tasks:
    """Tells callbacks of one task per chunk of steps: what they do costs little per step."""

    def __init__(self, estimator: Any, n_chunks: int, X: Any, y: Any, metadata: Any) -> None:
        self._estimator = estimator
        self._given = {"X": X, "y": y, "metadata": metadata}
        self._root: Any = None
        self._chunk: Any = None
        if hasattr(estimator, "_init_callback_context"):
            # Chunks that are taken back, because the rate was too large, are not tasks.
            self._root = estimator._init_callback_context(max_subtasks=n_chunks)

    def begin(self, attributes: dict[str, Any]) -> None:
        """Begin the fit, and its first chunk."""
        if self._root is None:
            return
        self._root.call_on_fit_task_begin(estimator=self._estimator, **self._given)
        self._begin_chunk(attributes)

    def next_chunk(self, attributes: dict[str, Any], last: bool) -> bool:
        """End a chunk and begin the next one; True asks for an end of the fit."""
        if self._chunk is None:
            return False
        stop = self._end(self._chunk, attributes)
        self._chunk = None
        if not stop and not last:
            self._begin_chunk(attributes)
        return stop

    def end(self, attributes: dict[str, Any]) -> None:
        """End the fit, and a chunk that was begun."""
        for context in (self._chunk, self._root):
            if context is not None:
                self._end(context, attributes)
        self._root = self._chunk = None

    def _begin_chunk(self, attributes: dict[str, Any]) -> None:
        self._chunk = self._root.subcontext(task_name="chunk")
        self._chunk.call_on_fit_task_begin(
            estimator=self._estimator, reconstruction_attributes=attributes, **self._given
        )

    def _end(self, context: Any, attributes: dict[str, Any]) -> bool:
        return bool(
            context.call_on_fit_task_end(
                estimator=self._estimator, reconstruction_attributes=attributes, **self._given
            )
        )
