"""A run: one training in one directory.

====================================  ======================================================================
``run.json``                          what determines the result (``settings``), and what computed it (``sessions``)
``metrics.csv``                       one row per epoch, see ``EpochMetrics``
``checkpoints/epoch-0001.safetensors``  the weights after that epoch
``best.safetensors``                  those of the best epoch so far
``capture.h5``                        attention after every epoch, where it was asked for
``state.pt``                          from where the training goes on
``search.nc``                         α of each block after every epoch, of a structure search
====================================  ======================================================================
"""

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import pandas as pd

from stripe.errors import StripeError
from stripe.files import UNSUPPORTED, write_whole
from stripe.tasks import ACCURACY, Scoring
from stripe.training.metrics import EpochMetrics, best_of, row_of

__all__ = ["EpochMetrics", "Run", "best_of"]

FORMAT = "stripe-run"

logger = logging.getLogger(__name__)

# What the settings say, where they say it; everything else may be of any type.
TYPES: dict[str, type | tuple[type, ...]] = {
    "model": str,
    "attention": str,
    "data": str,
    "select": str,
    "seed": int,
    "classes": list,
    "asr": (dict, type(None)),
    "noise": (dict, type(None)),
    "recipe": dict,
    "task": (dict, type(None)),
}


@dataclass(frozen=True, repr=False)
class Run:
    """A run directory.

    Attributes:
        path: The directory.

    Example:
        >>> run = Run(Path("runs/se29"))                          # doctest: +SKIP
        >>> run.metrics.test_accuracy.max()                       # doctest: +SKIP
    """

    path: Path

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def metrics_file(self) -> Path:
        """``metrics.csv``."""
        return self.path / "metrics.csv"

    @property
    def capture_file(self) -> Path:
        """``capture.h5``, whether there is one or not."""
        return self.path / "capture.h5"

    @property
    def state_file(self) -> Path:
        """``state.pt``."""
        return self.path / "state.pt"

    @property
    def best_file(self) -> Path:
        """``best.safetensors``, the weights of the best epoch."""
        return self.path / "best.safetensors"

    @property
    def checkpoints(self) -> list[Path]:
        """The checkpoints that were kept, by epoch."""
        return sorted((self.path / "checkpoints").glob("epoch-*.safetensors"))

    def checkpoint(self, epoch: int) -> Path:
        """Where the checkpoint of an epoch lies, if it was kept."""
        return self.path / "checkpoints" / f"epoch-{epoch:04d}.safetensors"

    def owns(self, path: Path) -> bool:
        """Whether a file is one that the training writes, by its name."""
        own = {self.metrics_file, self.capture_file, self.state_file, self.best_file}
        own |= {self.path / "run.json", self.path / "search.nc"}
        return path in own or path.parent == self.path / "checkpoints"

    @property
    def settings(self) -> dict[str, Any]:
        """What determines the result: model, data, recipe, seed and so on.

        Raises:
            StripeError: This is no run directory.
        """
        settings: dict[str, Any] = self._read()["settings"]
        return settings

    @property
    def scale(self) -> str:
        """At what scale the run is made, in words, to be said beside its results.

        Raises:
            StripeError: This is no run directory.
        """
        return str(self._read()["scale"])

    @property
    def scoring(self) -> Scoring:
        """What the task of the run measures: what its ``settings`` say, else classification.

        Raises:
            StripeError: ``run.json`` is damaged.
        """
        path = self.path / "run.json"
        if not path.exists():
            return ACCURACY
        try:
            return Scoring.read(self._read()["settings"].get("task"))
        except StripeError as error:
            raise StripeError(f"{path}: {error}") from error

    @property
    def metrics(self) -> pd.DataFrame:
        """One row per epoch, whose columns are the fields of ``row_of``; empty before the first epoch has ended.

        Raises:
            StripeError: The file is damaged.
        """
        row = row_of(self.scoring)
        if not self.metrics_file.exists():
            return pd.DataFrame(columns=list(row._fields))
        try:
            table = pd.read_csv(self.metrics_file, engine="python")  # whose floats are exact
            if missing := set(row._fields) - set(row._field_defaults) - set(table):
                raise ValueError(f"it lacks the columns {', '.join(sorted(missing))}")
            table = table[[name for name in row._fields if name in table]]
            numbers = table.astype("float64")
            epochs = numbers["epoch"].to_numpy()
            if (
                not all(math.isfinite(epoch) and epoch.is_integer() for epoch in epochs)
                or (epochs[1:] <= epochs[:-1]).any()
            ):
                raise ValueError("its epochs are not numbered as they were")
            return numbers.astype({"epoch": "int64"})
        except Exception as error:  # a damaged table fails in many ways
            raise StripeError(f"{self.metrics_file} can't be read: {error}. It is damaged or was edited.") from error

    @property
    def history(self) -> list[EpochMetrics]:
        """The metrics of all epochs, as records."""
        row = row_of(self.scoring)
        return [row(*values) for values in self.metrics.itertuples(index=False)]

    @property
    def best(self) -> EpochMetrics:
        """The best epoch, chosen by the held-out images or, with ``select="test"``, by the test split itself.

        Raises:
            StripeError: No epoch has ended yet.
        """
        history = self.history
        if not history:
            raise StripeError(f"{self.path}: no epoch has ended yet.")
        return best_of(history, str(self.settings.get("select", "test")), self.scoring)

    def write_metrics(self, history: Sequence[EpochMetrics]) -> None:
        """Write ``metrics.csv`` anew."""
        columns = list(row_of(self.scoring)._fields)
        table = pd.DataFrame(history, columns=columns).to_csv(index=False, lineterminator="\n")
        write_whole(self.metrics_file, table.encode())

    @contextmanager
    def claim(self, settings: Mapping[str, Any], session: Mapping[str, Any], *, scale: str) -> Iterator[None]:
        """Make the directory, or take up the run in it, and keep others from training there meanwhile.

        Args:
            settings: What determines the result, ready for JSON; those of a run that is taken up must be equal.
            session: What does not, but explains it (versions, device, threads, command); added to the list.
            scale: See ``scale``; a run that is taken up keeps its own.

        Raises:
            StripeError: The directory holds something else or a run with other settings (and at least one finished
                epoch), another training is under way in it, or it cannot be written.
        """
        lock = filelock.FileLock(self.path / ".lock", timeout=0)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._acquire(lock)
        except filelock.Timeout:
            raise StripeError(f"Another training is under way in {self.path}; give this one another folder.") from None
        except OSError as error:
            raise StripeError(f"{self.path} cannot be used as a folder: {error.strerror or error}.") from error
        try:
            self._begin(json.loads(json.dumps(settings)), session, scale)
            yield
        finally:
            lock.release()

    def _acquire(self, lock: filelock.BaseFileLock) -> None:
        """Lock the directory, or say that its file system has no locks."""
        try:
            lock.acquire()
        except filelock.Timeout:
            raise
        except (OSError, NotImplementedError) as error:
            if isinstance(error, OSError) and error.errno not in UNSUPPORTED:
                raise
            logger.warning(
                "%s: its file system gives no locks (%s), so that nothing keeps a second training out; start only one",
                *(self.path, error),
            )

    def _begin(self, settings: dict[str, Any], session: Mapping[str, Any], scale: str) -> None:
        sessions: list[Any] = []
        if (self.path / "run.json").exists():
            record = self._read()
            changed = _differences(record["settings"], settings)
            if changed and (self.state_file.exists() or self.checkpoints or len(self.metrics)):
                raise StripeError(
                    f"{self.path} holds a run with other settings: {'; '.join(changed)}. Give this one another folder, "
                    "or the same settings to go on with that one."
                )
            if changed:  # no epoch of it was finished, so nothing is lost
                for stale in (self.capture_file, self.metrics_file, self.best_file):
                    stale.unlink(missing_ok=True)
            else:
                sessions, scale = record["sessions"], record["scale"]
        elif foreign := [entry.name for entry in self.path.iterdir() if not entry.name.startswith(".")]:
            raise StripeError(f"{self.path} is no run: it holds {foreign[0]} and no run.json. Give a new folder.")
        record = {"format": FORMAT, "scale": scale, "settings": settings, "sessions": [*sessions, session]}
        text = f"{json.dumps(record, indent=2, ensure_ascii=False)}\n"
        # A file's name may hold what is not UTF-8; written like this it is what JSON calls it.
        write_whole(self.path / "run.json", text.encode(errors="backslashreplace"))

    def _read(self) -> dict[str, Any]:
        path = self.path / "run.json"
        try:
            record = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise StripeError(f"{self.path} is no run: it has no run.json.") from None
        except (OSError, ValueError, RecursionError) as error:
            raise StripeError(f"{path} cannot be read: {error}.") from error
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            raise StripeError(f"{path} is not the description of a run.")
        for key, kind in {"settings": dict, "sessions": list, "scale": str}.items():
            if not isinstance(record.get(key), kind):
                raise StripeError(f"{path} is damaged: its {key} are not there or are no {kind.__name__}.")
        settings = record["settings"]
        for key in TYPES.keys() & settings.keys():
            if not isinstance(settings[key], TYPES[key]):
                raise StripeError(f"{path} is damaged or was edited: its {key} is {_short(settings[key])}.")
        if settings.get("select", "test") not in ("val", "test"):
            raise StripeError(f"{path} is damaged or was edited: its best epoch is selected by {settings['select']!r}.")
        record["settings"] = _Said(settings, path)
        return record


class _Said(dict[str, Any]):
    """Settings that answer with a sentence where one is lacking."""

    def __init__(self, settings: Mapping[str, Any], path: Path) -> None:
        super().__init__(
            {key: _Said(value, path) if isinstance(value, dict) else value for key, value in settings.items()}
        )
        self._path = path

    def __missing__(self, key: str) -> Any:
        raise StripeError(f"{self._path} does not say {key}: it is damaged, was edited, or is of an older version.")


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The differences between two nested dictionaries, one phrase each."""
    found = []
    for key in sorted({*old, *new}):
        a, b = old.get(key), new.get(key)
        if key in ("mean", "std") and key not in old:
            continue  # runs of the first release, which all had those of their data
        if isinstance(a, dict) and isinstance(b, dict):
            found += _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key} is {_short(a)} there and {_short(b)} here")
    return found


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:59]}…"
