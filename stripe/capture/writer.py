"""A background thread for writing, so that it overlaps computation."""

import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

__all__ = ["BackgroundWriter"]

# Batches that may wait to be written: enough to overlap, few enough that memory stays bounded.
WAITING = 8


class BackgroundWriter:
    """A thread that calls functions one after the other; leaving the context waits for all of them.

    An exception of a function is raised again by the next ``submit``, or when the context is left.
    """

    def __init__(self) -> None:
        self._calls: queue.Queue[tuple[Callable[..., None], tuple[Any, ...]] | None] = queue.Queue(WAITING)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="capture-writer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._calls.put(None)
        self._thread.join()
        if error is None:
            self._raise()

    def submit(self, function: Callable[..., None], *args: Any) -> None:
        """Queue the call ``function(*args)``; wait while the queue is full."""
        self._raise()
        self._calls.put((function, args))

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            function, args = call
            if self._error is None:  # after an error the rest is only taken out of the queue
                try:
                    function(*args)
                except BaseException as error:  # handed to the main thread
                    self._error = error

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
