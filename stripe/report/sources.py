"""What a page is made from: a capture, trainings, or both, and what has to be said about what is missing."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from stripe.analysis import control_evidence, evidence, metrics, verdicts
from stripe.capture import Capture, CaptureLike, as_capture
from stripe.errors import StripeError
from stripe.training import Run

__all__ = ["Source", "open_source"]

TOLERANCE = 0.01  # for the differences between epochs, as everywhere by default


@dataclass(frozen=True)
class Source:
    """What a page is made from.

    Attributes:
        capture: The capture; None where there is none.
        runs: Trainings of one network, perhaps with several seeds; empty where only a capture is known.
        metrics: ``stripe.analysis.metrics`` of the chosen sites; None where the capture has none.
        evidence: ``stripe.analysis.evidence`` of the same sites at the last epoch; None if the capture has none.
        controls: ``stripe.analysis.control_evidence`` of the same sites; empty if the capture has no control.
        notes: Sentences on what is missing.
    """

    capture: Capture | None
    runs: tuple[Run, ...]
    metrics: pd.DataFrame | None
    evidence: pd.DataFrame | None
    controls: dict[str, pd.DataFrame]
    notes: list[str] = field(default_factory=list)

    @property
    def verdicts(self) -> pd.DataFrame:
        """``stripe.analysis.verdicts`` of the sites; there must be some."""
        assert self.metrics is not None
        return verdicts(self.metrics, self.evidence, self.controls)


def open_source(capture: CaptureLike | None, runs: Sequence[Run], sites: str) -> Source:
    """Open what there is.

    Args:
        capture: A capture, its tree or its path; None takes that of the first run which has one.
        runs: Trainings; may be empty.
        sites: Glob of the sites to show.

    Raises:
        StripeError: There is nothing to show, the capture cannot be read, or no site fits the glob.
    """
    if capture is None and not runs:
        raise StripeError("A report needs a capture or a run.")
    if isinstance(runs, Run):
        raise StripeError("Runs are a list, be it of one: write [run].")
    notes: list[str] = []
    opened = as_capture(capture) if capture is not None else _of_runs(runs, notes)
    if not runs:
        notes.append(
            "This report shows a capture alone, without the training behind it: give the run's folder for that."
        )
    if opened is None or not opened.sites:
        if opened is not None:
            if not opened.layers:
                raise StripeError(f"{opened.path or 'The capture'} has neither attention sites nor Grad-CAM maps.")
            notes.append("The file holds Grad-CAM maps alone, and no attention.")
        return Source(opened, tuple(runs), None, None, {}, notes)
    table = metrics(opened, sites=sites, tolerance=TOLERANCE)
    beside = control_evidence(opened, sites)
    return Source(opened, tuple(runs), table, evidence(opened, sites=sites), beside, notes)


def _of_runs(runs: Sequence[Run], notes: list[str]) -> Capture | None:
    """The capture of the first run that has one that can be read."""
    for run in runs:
        if not run.capture_file.exists():
            continue
        try:
            opened = as_capture(run.capture_file)
        except StripeError as error:
            notes.append(str(error))
            continue
        if len(runs) > 1:
            notes.append(f"Attention is that of {run.path.absolute().name}; the other runs differ in their seed alone.")
        return opened
    notes.append(
        "No attention was captured, so that nothing can be said of it: train with --capture N, or give the checkpoints "
        "to `stripe capture`."
    )
    return None
