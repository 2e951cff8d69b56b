"""The runs that are there: one directory each, named by the address of what determines its result."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from stripe.capture import open_capture
from stripe.errors import StripeError
from stripe.reproduce.sources import Found, Sources
from stripe.training import Run
from stripe.training.compute import default_precision
from stripe.training.config import RunConfig

__all__ = ["Cache", "Planned", "State"]

State = Literal["cached", "unfinished", "missing"]


@dataclass(frozen=True)
class Planned:
    """A run, and where it lies or will lie.

    Attributes:
        request: What determines it.
        found: What is known of its data.
        path: Its directory.
        state: ``cached``: all of it is there; ``unfinished``: some epochs are; ``missing``: none.
        done: Epochs that are there.
    """

    request: RunConfig
    found: Found
    path: Path
    state: State
    done: int

    @property
    def run(self) -> Run:
        """The run in the directory."""
        return Run(self.path)


@dataclass(frozen=True)
class Cache:
    """A folder of runs.

    Attributes:
        folder: Which.
        sources: Where the data of the runs comes from.
        device: Where the runs are computed, as for `stripe.training.train`: it decides the precision, where none is
            asked for, and that is part of a run's address.
    """

    folder: Path
    sources: Sources
    device: str | None = None

    def plan(self, requests: Iterable[RunConfig], captures: Iterable[int] = ()) -> dict[RunConfig, Planned]:
        """Which run serves each request.

        A run whose attention is recorded serves those as well who want the same network without.

        Args:
            requests: Any; equal ones are one run.
            captures: Numbers of images, of runs that others may have recorded before.

        Raises:
            StripeError: There is no such data.
        """
        precise = {request: self._precise(request) for request in requests}
        wanted = list(dict.fromkeys(precise.values()))
        counts = sorted({request.capture for request in wanted}.union(captures) - {0})
        served: dict[RunConfig, Planned] = {}
        for request in wanted:
            twins = [replace(request, capture=count) for count in counts] if request.capture == 0 else []
            found = [twin for twin in map(self._planned, twins) if twin.request in wanted or twin.state != "missing"]
            served[request] = found[0] if found else self._planned(request)
        return {request: served[exact] for request, exact in precise.items()}

    def look_again(self, served: Mapping[RunConfig, Planned]) -> dict[RunConfig, Planned]:
        """The same runs, with their states as they are now."""
        now = {planned.path: _state(planned.path, planned.request) for planned in served.values()}
        return {
            request: replace(planned, state=now[planned.path][0], done=now[planned.path][1])
            for request, planned in served.items()
        }

    def _precise(self, request: RunConfig) -> RunConfig:
        """The request with the precision that it is really computed in; float32 goes without saying."""
        if request.precision is None and default_precision(self.device) != "float32":
            return replace(request, precision=default_precision(self.device))
        return request

    def _planned(self, request: RunConfig) -> Planned:
        found = self.sources.look(request)
        path = self.folder / request.address(found.attrs)
        return Planned(request, found, path, *_state(path, request))


def _state(path: Path, request: RunConfig) -> tuple[State, int]:
    if request.recipe is None:
        return ("cached", 0) if _is_captured(path / "capture.h5") else ("missing", 0)
    if not (path / "run.json").exists():
        return "missing", 0
    done = len(Run(path).metrics)
    return ("cached" if done == request.epochs else "unfinished" if done else "missing"), done


def _is_captured(path: Path) -> bool:
    try:
        return open_capture(path).sizes["epoch"] > 0
    except StripeError:  # there is none, or it was interrupted
        return False
