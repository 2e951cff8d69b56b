"""Writing of a capture file: by one writer at a time, and so that each epoch is either complete or absent."""

import logging
import math
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np

from stripe.capture.groups import carry_over
from stripe.capture.layout import LIBVER, VARIABLES, Control, Epoch, Layout, create
from stripe.capture.lock import open_for_writing
from stripe.capture.probe import mark_sound
from stripe.capture.slab import Slab, SlabWriter, slabs
from stripe.capture.structure import attributes, readable, structure
from stripe.capture.text import attribute, group_name, text
from stripe.errors import StripeError

__all__ = ["CaptureFile"]

logger = logging.getLogger(__name__)


class CaptureFile:
    """A capture file that is open for writing; a lock keeps other writers out.

    If the file does not exist, it is created. If it exists, it must have been made from the same model, data and
    images. Epochs that it lacks are added to a copy, which then replaces the file.

    Args:
        path: Path of the file.
        layout: Layout of the capture: its epochs, images, sites and attributes.
        overwrite: Whether an existing capture is replaced by an empty one. Files that are no captures never are.

    Raises:
        StripeError: The file is damaged, is not a capture, was made from something else, or is open for writing
            elsewhere.
    """

    def __init__(self, path: Path, layout: Layout, *, overwrite: bool = False) -> None:
        self.path = path
        if not path.exists():
            _create(path, layout)
        self._lock = open_for_writing(path)
        try:
            with readable(path):
                structure(self._lock, path)
                if overwrite or not self._lock["complete"][:].any():
                    self._replace(layout)  # if no epoch is complete, there is nothing to agree with
                layout = replace(layout, record_rms=_holds_rms(self._lock))
                _check_same(self._lock, path, layout)
                layout = replace(layout, controls=_newest(_controls(self._lock), layout.controls))
                lacking = {epoch.number for epoch in layout.epochs} - set(_epochs(self._lock))
                if lacking or set(layout.controls) - set(_controls(self._lock)):
                    self._grow(layout)
                self._variables = layout.variables
                self._slabs = slabs(self._lock, path)
                _check_in_one_piece(self._lock, path, self._slabs)
                self._index = {number: index for index, number in enumerate(_epochs(self._lock))}
                self._control_index = {control.name: index for index, control in enumerate(_controls(self._lock))}
                complete = self._slabs["complete"][:]
                made = self._slabs["controls/complete"][:] if self._control_index else complete[:0]
            self._completed = {number for number, index in self._index.items() if complete[index]}
            self._completed_controls = {name for name, index in self._control_index.items() if made[index]}
            self._nonfinite: Counter[str] = Counter()  # per site, in the epoch being written
            self._writer = SlabWriter(path)
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def completed(self) -> set[int]:
        """Numbers of the epochs that are complete."""
        return set(self._completed)

    @property
    def completed_controls(self) -> set[str]:
        """Names of the controls that are complete."""
        return set(self._completed_controls)

    def begin(self, epoch: int | str) -> None:
        """Mark an epoch, or the control of a name, as incomplete before its values are written."""
        self._nonfinite.clear()
        if isinstance(epoch, str):
            self._completed_controls.discard(epoch)
            self._mark(self._slabs["controls/complete"], self._control_index[epoch], 0)
            return
        if epoch not in self._index:
            raise StripeError(f"{self.path} has no room for epoch {epoch}; it has {', '.join(map(str, self._index))}.")
        self._completed.discard(epoch)
        self._mark(self._slabs["complete"], self._index[epoch], 0)

    def write(self, epoch: int | str, start: int, values: Mapping[str, Mapping[str, np.ndarray[Any, Any]]]) -> None:
        """Write the values of some images.

        Args:
            epoch: Number of the epoch, or name of the control.
            start: Index of the first image.
            values: For each site, a dictionary from the name of a variable to an array (n, *shape of the site), in the
                data type of the file or a wider one.

        Raises:
            StripeError: An array does not have the shape of the file, or a value is too large for its data type.
        """
        above, index = (f"controls/{epoch}/", (start,)) if isinstance(epoch, str) else ("", (self._index[epoch], start))
        with self._explained():
            for site, variables in values.items():
                for name, rows in variables.items():
                    if name not in self._variables:
                        continue  # the file was begun by the first release
                    slab = self._slabs[f"{above}sites/{group_name(site)}/{name}"]
                    self._writer.write(slab, index, self._narrowed(rows, slab.dtype, site))

    def write_images(
        self, start: int, labels: np.ndarray[Any, Any], thumbnails: np.ndarray[Any, Any] | None = None
    ) -> None:
        """Write the labels (n,) and, if the file keeps them, the thumbnails (n, y, x, 3) of some images."""
        with self._explained():
            self._writer.write(self._slabs["label"], (start,), labels)
            if thumbnails is not None:
                self._writer.write(self._slabs["thumbnail"], (start,), thumbnails)

    def images(self, start: int, stop: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any] | None]:
        """Read the labels (n,) and, if the file keeps them, the thumbnails (n, y, x, 3) of some images."""
        thumbnails = self._slabs.get("thumbnail")
        return self._slabs["label"][start:stop], None if thumbnails is None else thumbnails[start:stop]

    def finish(self, epoch: int | str, learning_rate: float = math.nan) -> None:
        """Mark an epoch, or the control of a name, as complete, once its values have reached the disk."""
        if isinstance(epoch, str):
            where = f"the control {epoch}"
            self._mark(self._slabs["controls/complete"], self._control_index[epoch], 1)
            self._completed_controls.add(epoch)
        else:
            where = f"epoch {epoch}"
            with self._explained():
                self._writer.write(self._slabs["learning_rate"], (self._index[epoch],), np.float64(learning_rate))
            self._mark(self._slabs["complete"], self._index[epoch], 1)
            self._completed.add(epoch)
        if self._nonfinite:
            logger.warning(
                "%s: the network gave %d NaN or infinite values at %s, at %d sites (%s …); they are recorded as "
                "they are",
                *(self.path, self._nonfinite.total(), where, len(self._nonfinite), next(iter(self._nonfinite))),
            )

    def close(self) -> None:
        """Close the file and release its lock."""
        self._writer.close()
        self._lock.close()
        with suppress(OSError):
            mark_sound(self.path)

    def _mark(self, marks: Slab, index: int, complete: int) -> None:
        """Write whether something is complete, once what was written before has reached the disk."""
        with self._explained():
            self._writer.sync()
            self._writer.write(marks, (index,), np.uint8(complete))
            self._writer.sync()

    def _narrowed(self, rows: np.ndarray[Any, Any], dtype: np.dtype[Any], site: str) -> np.ndarray[Any, Any]:
        """Convert values to the data type of the file; refuse a finite value that would become infinite."""
        if rows.dtype.kind != dtype.kind:
            return rows  # will be refused
        finite = np.isfinite(rows)
        if not finite.all():
            self._nonfinite[site] += rows.size - int(np.count_nonzero(finite))
        if rows.dtype == dtype:
            return rows
        with np.errstate(over="ignore", under="ignore"):
            narrowed = rows.astype(dtype)
        if (lost := finite & ~np.isfinite(narrowed)).any():
            raise StripeError(
                f"Site {site} has values up to {np.abs(rows[lost]).max():.3g}, and {dtype} ends at "
                f'{np.finfo(dtype).max:,.0f}: record them with dtype="float32", into another file '
                "where this one holds epochs already."
            )
        return narrowed

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn an error of the disk into a sentence that says why writing failed and which epochs are intact."""
        try:
            yield
        except OSError as error:
            raise StripeError(
                f"{self.path} could not be written: {os.strerror(error.errno or 0)}. Its {len(self._completed)} "
                "complete epochs are intact; make room and give the same command again."
            ) from error

    def _replace(self, layout: Layout) -> None:
        """Replace the file by an empty one with the given layout."""
        _explained_creation(self.path, layout, replace=True)
        self._lock.close()
        self._lock = open_for_writing(self.path)

    def _grow(self, layout: Layout) -> None:
        """Add epochs or controls: replace the file by a copy that has room for them and keeps everything else.

        A control that was made from other weights or with another seed is not kept.
        """
        old = _epochs(self._lock)
        wanted = {control.name: control for control in (*_controls(self._lock), *layout.controls)}
        layout = replace(
            layout,
            attrs={**self._lock.attrs, **layout.attrs},
            paths=layout.paths or tuple(self._lock["path"].asstr()[:]),
        )
        union = old | {epoch.number: epoch for epoch in layout.epochs}
        epochs = tuple(union[number] for number in sorted(union))
        places = [sorted(union).index(number) for number in old]
        grown = self.path.with_name(f".{self.path.name}.grown")
        grown.unlink(missing_ok=True)
        try:
            _create(grown, replace(layout, epochs=epochs, controls=tuple(wanted.values())))
            _copy(self.path, grown, self._lock, places)
            if "gradcam" in self._lock:
                with h5py.File(grown, "r+", libver=LIBVER, locking=False) as file:
                    carry_over(self._lock["gradcam"], file.create_group("gradcam"))
            grown.replace(self.path)
            mark_sound(self.path)
        except (OSError, RuntimeError) as error:  # h5py raises either
            raise StripeError(f"Can't add to {self.path}, which is as it was: {error}.") from error
        finally:
            grown.unlink(missing_ok=True)
        self._lock.close()
        self._lock = open_for_writing(self.path)


def _create(path: Path, layout: Layout) -> None:
    if not path.parent.is_dir():
        raise StripeError(f"{path.parent} is no folder; make it first, or give another output file.")
    free = float("inf")
    with suppress(OSError):  # not every file system knows, and some say that they have room for nothing at all
        usage = shutil.disk_usage(path.parent)
        free = usage.free if usage.total else free
    if layout.nbytes > free:
        raise StripeError(
            f"{path} will take {layout.nbytes / 1e6:,.0f} MB, but only {free / 1e6:,.0f} MB are free. Make room, or "
            'record fewer images, fewer sites (sites=), dtype="float16" or record_input=False.'
        )
    _explained_creation(path, layout)


def _explained_creation(path: Path, layout: Layout, *, replace: bool = False) -> None:
    try:
        create(path, layout, replace=replace)
    except FileExistsError:
        pass  # another process was faster; whether it may be written is found out next
    except PermissionError as error:
        raise StripeError(f"{path.parent} can't be written to; give another output file.") from error
    except (OSError, RuntimeError, TypeError, ValueError) as error:  # h5py raises any of them
        raise StripeError(f"Can't create {path}: {error}.") from error


def _check_in_one_piece(file: h5py.File, path: Path, found: Mapping[str, Any]) -> None:
    """Refuse a file whose values cannot be written in place, because they are chunked or compressed."""
    names = ["complete", "learning_rate", "label", *(["thumbnail"] if "thumbnail" in file else [])]
    names += [f"sites/{site}/{name}" for site, group in file["sites"].items() for name in VARIABLES if name in group]
    for control in _controls(file):
        names += ["controls/complete"]
        names += [f"controls/{control.name}/{name}" for name in names if name.startswith("sites/")]
    if lacking := [name for name in names if name not in found]:
        raise StripeError(
            f"{path} was packed anew by another program ({lacking[0]} lies in pieces), so that it can be read and "
            "nothing can be added to it. Give another output file."
        )


def _holds_rms(file: h5py.File) -> bool:
    """False of a file that the first release began, which goes on without; files without any input stay as they are."""
    return all("input_rms" in group or "input" not in group for group in file.get("sites", {}).values())


def _epochs(file: h5py.File) -> dict[int, Epoch]:
    """The epochs that a file has room for, as a dictionary by number in the order of the file."""
    columns = (file[name].asstr()[:] for name in ("checkpoint", "digest"))
    rows = zip(file["epoch"][:].tolist(), *columns, strict=True)
    return {number: Epoch(number, checkpoint, digest) for number, checkpoint, digest in rows}


def _controls(file: h5py.File) -> list[Control]:
    """The controls that a file has room for, in their order."""
    groups = {name: item for name, item in file.get("controls", {}).items() if isinstance(item, h5py.Group)}
    said = {name: attributes(group) for name, group in groups.items()}
    return [
        Control(name, int(said[name]["epoch"]), int(said[name]["seed"]), said[name]["how"], said[name]["digest"])
        for name in sorted(said, key=lambda name: int(said[name]["order"]))
    ]


def _newest(held: list[Control], wanted: tuple[Control, ...]) -> tuple[Control, ...]:
    """The wanted controls; one that the file holds of a later epoch stays, for it belongs to the last epoch."""
    by_name = {control.name: control for control in held}
    return tuple(max(each, by_name.get(each.name, each), key=lambda control: control.epoch) for each in wanted)


def _check_same(file: h5py.File, path: Path, layout: Layout) -> None:
    """Refuse a file that was made from something else, and say what differs."""
    for difference in _differences(file, path, layout):
        raise StripeError(
            f"{path} is a capture of something else: {difference}. Give another output file, or "
            "overwrite=True to replace it."
        )


def _differences(file: h5py.File, path: Path, layout: Layout) -> Iterator[str]:
    for key, value in layout.attrs.items():
        new, old = attribute(value), file.attrs.get(text(key))
        if old is None and key in ("mean", "std"):
            # Captures of the first release say it only where it was not that of the data.
            logger.warning("%s does not say the %s of its images; it is taken to be %s", path, key, new)
        elif old != new:
            yield f"its {key} is {old!r}, not {new!r}"
    if file["image"].size != layout.num_images:
        yield f"it holds {file['image'].size} images, not {layout.num_images}"
    if layout.paths and file["path"].asstr()[:].tolist() != list(map(text, layout.paths)):
        yield "it holds other images"
    groups = file.get("sites", {})
    if others := sorted(set(groups) ^ {group_name(site.name) for site in layout.sites}):
        yield f"it holds other sites ({', '.join(others[:3])})"
    for site in layout.sites:
        group = groups[group_name(site.name)]
        held = [name for name in VARIABLES if name in group]
        if held != list(layout.variables):
            yield f"it holds {' and '.join(name for name in held if name != 'input_rms')} of each site"
        shapes = {group[name].shape[2:] for name in held}
        if shapes != {site.shape} or group["attention"].dtype != np.dtype(layout.dtype):
            yield f"its values at {site.name} have another shape or type"
    if (file["thumbnail"].shape[1:] if "thumbnail" in file else None) != layout.thumbnail_shape:
        yield "it holds images of another size"
    known = _epochs(file)
    for epoch in layout.epochs:
        held_epoch = known.get(epoch.number, epoch)
        if held_epoch.digest != epoch.digest:
            yield f"its epoch {epoch.number} came from {held_epoch.checkpoint!r} with other weights"


def _copy(source: Path, target: Path, source_file: h5py.File, places: list[int]) -> None:
    """Copy all values: epoch i of the source becomes epoch ``places[i]`` of the target."""
    old = slabs(source_file, source)
    _check_in_one_piece(source_file, source, old)
    with h5py.File(target, "r", locking=False) as file:
        new, places_of = slabs(file, target), {control: index for index, control in enumerate(_controls(file))}
    kept = [
        (before, places_of[control])
        for before, control in enumerate(_controls(source_file))
        if control in places_of and old["controls/complete"][before]
    ]
    names_of = {index: control.name for control, index in places_of.items()}
    with SlabWriter(target) as writer:
        for name in {"label", "thumbnail"} & old.keys():
            writer.write(new[name], (0,), old[name][:])
        by_epoch = [name for name in old if name.startswith("sites/") and old[name].ndim > 1]
        complete = old["complete"][:]
        for before, after in enumerate(places):
            for name in [*by_epoch, "learning_rate"] if complete[before] else ():
                writer.write(new[name], (after,), old[name][before])
        for _, after in kept:
            for name in old:
                if name.startswith(f"controls/{names_of[after]}/sites/") and name.rsplit("/", 1)[-1] in VARIABLES:
                    writer.write(new[name], (0,), old[name][:])
        writer.sync()
        for _, after in kept:
            writer.write(new["controls/complete"], (after,), np.uint8(1))
        for before, after in enumerate(places):
            writer.write(new["complete"], (after,), complete[before])
        writer.sync()
