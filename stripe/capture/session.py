"""Captures: the attention of a model over the same images at one or many epochs, in one file."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from stripe.adapter import Batch, batch_of, check_weights, eager, run
from stripe.capture.controls import ControlPlan, has_statistics, restored, with_statistics
from stripe.capture.file import CaptureFile
from stripe.capture.layout import Control, Epoch, Layout, weights_digest
from stripe.capture.loader import Loader, count_images
from stripe.capture.recorder import Recorder
from stripe.capture.sites import Site, discover
from stripe.capture.thumbnails import thumbnails
from stripe.capture.unwrap import unwrap
from stripe.capture.writer import BackgroundWriter
from stripe.errors import StripeError
from stripe.modes import evaluating
from stripe.names import matching
from stripe.progress import progress_bar
from stripe.provenance import provenance

__all__ = ["CaptureSession", "capture", "no_attention", "select_sites"]

logger = logging.getLogger(__name__)

DTYPES = ("float32", "float16")
# Grey levels by which a thumbnail may differ from that of the same image, decoded by another version of a library.
TOLERANCE = 4


class CaptureSession:
    """An open capture file into which a model's attention over fixed images is recorded, epoch by epoch.

    Use it for a model that changes between the calls of ``record``, because it is trained or because checkpoints are
    loaded into it. Memory does not grow with the number of images, and writing overlaps computing.

    Args:
        model: Any module that takes a batch of images. Its gates are found by ``stripe.capture.discover``.
        loader: The images, which must come in the same order each time.
        path: Path of the capture file. A file that was made from the same model and images is resumed.
        epochs: All epochs that will be recorded.
        preprocess: Turns a batch from the loader, already on the model's device, into the model's input (our own data
            gives uint8 images and ``Data.normalize``). Default: no change.
        paths: File of each image, which the capture keeps as text.
        sites: Pattern that the names of the sites must match, as for file names: ``layer3.*``.
        record_input: Whether the mean and the root mean square of the map before the attention are recorded,
            too.
        dtype: Data type of the values in the file, ``float32`` or ``float16``.
        attrs: Model, data, seed and whatever else decides the values. A capture is resumed only if they agree.
        controls: The controls that will be recorded, or a function that gives them for the session once its sites are
            known.
        overwrite: Whether a capture at ``path`` is replaced and not resumed. Its values are lost at once. A file that
            is no capture, or is damaged, is never replaced.

    Attributes:
        model: The model without its wrappers.
        sites: The sites that are recorded.
        attention: All attention sites of the model.
        controls: Names of the controls that are to be recorded.
        sample: An image or two, as the model takes them.

    Raises:
        StripeError: There is no site to record, there are no images, or the file can't be used.

    Example:
        >>> loader = DataLoader(dataset, batch_size=64)                        # doctest: +SKIP
        >>> with CaptureSession(model, loader, "run.h5", epochs=range(1, 13)) as session:   # doctest: +SKIP
        ...     for epoch in range(1, 13):
        ...         train_one_epoch(model)
        ...         session.record(epoch)
    """

    def __init__(
        self,
        model: nn.Module,
        loader: Loader,
        path: str | Path,
        *,
        epochs: Iterable[int | Epoch] = (0,),
        preprocess: Callable[[Tensor], Tensor] | None = None,
        paths: Sequence[str] = (),
        sites: str = "*",
        record_input: bool = True,
        dtype: str = "float32",
        attrs: Mapping[str, Any] | None = None,
        controls: "Sequence[Control] | Callable[[CaptureSession], Sequence[Control]]" = (),
        overwrite: bool = False,
    ) -> None:
        check_weights(model)
        self.model = unwrap(model)
        self.path = Path(path)
        self._loader = loader
        self._preprocess = preprocess
        if dtype not in DTYPES:
            raise StripeError(f"Values are recorded as {' or '.join(DTYPES)}, not as {dtype}.")
        epochs = list(epochs)
        if not epochs:
            raise StripeError("There are no epochs to record: epochs= is empty.")
        first = batch_of(next(iter(loader), None), self.model)
        self.sample = self._input(first.first(2))
        found = discover(self.model, self.sample)
        self.sites = select_sites(found, sites)
        self.attention = [site for site in found if site.is_attention]
        self._num_images = count_images(loader)
        self._image_shape = _shape(first)
        picture = thumbnails(first.first(1).images)
        if any(not isinstance(each, str | os.PathLike) for each in paths):
            raise StripeError("The paths of the images must be texts.")
        if paths and len(paths) != self._num_images:
            raise StripeError(f"There are {len(paths)} paths for {self._num_images} images.")
        planned = tuple(controls(self) if callable(controls) else controls)
        self.controls = [control.name for control in planned]
        self._recorder = Recorder(self.model, self.sites, record_input=record_input)
        numbered = {e.number: e for e in (Epoch(e) if isinstance(e, int) else e for e in epochs)}
        self._file = CaptureFile(
            self.path,
            Layout(
                epochs=tuple(numbered[number] for number in sorted(numbered)),
                num_images=self._num_images,
                paths=tuple(map(os.fspath, paths)),
                thumbnail_shape=None if picture is None else tuple(picture.shape[1:]),  # type: ignore[arg-type]
                sites=tuple(self.sites),
                record_input=record_input,
                dtype=dtype,
                attrs=attrs or {},
                provenance=provenance(),
                controls=planned,
            ),
            overwrite=overwrite,
        )
        if self.completed:
            try:
                self._check_images(0, first)
            except BaseException:
                self._file.close()  # release the lock: without a session nobody would
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    @property
    def completed(self) -> set[int]:
        """Numbers of the epochs that are complete in the file."""
        return self._file.completed

    @property
    def completed_controls(self) -> set[str]:
        """Names of the controls that are complete in the file."""
        return self._file.completed_controls

    def record(
        self, epoch: int, *, learning_rate: float = float("nan"), advance: Callable[[int], None] | None = None
    ) -> None:
        """Run all images through the model as it is now, and write the values of its gates.

        The model runs in evaluation mode without gradients; its mode is restored afterwards.

        Args:
            epoch: Number of one of the session's epochs. If it is complete already, it is written anew.
            learning_rate: Learning rate that the epoch was trained with, NaN if it is unknown.
            advance: Function that is called with the number of images after each batch, for a progress bar.

        Raises:
            StripeError: The session has no such epoch, the images are not those of the other epochs, or the file could
                not be written.
        """
        self._record(epoch, with_images=not self.completed - {epoch}, advance=advance)
        self._file.finish(epoch, learning_rate)

    def record_control(
        self, name: str, *, statistics: bool = False, advance: Callable[[int], None] | None = None
    ) -> None:
        """Run all images through the model as it is now, and write the values of its gates as those of a control.

        Args:
            name: Name of one of the session's controls. If it is complete already, it is written anew.
            statistics: Whether the running statistics of the model's batch normalisations are set to those of the
                images before; afterwards they are what they were. A new network has those of no image, so that its
                gates would see maps that are not normalised.
            advance: As for ``record``.

        Raises:
            StripeError: As for ``record``.
        """
        with restored(self.model) if statistics else nullcontext():
            if statistics:
                with_statistics(self.model, self._runs())
            self._record(name, with_images=not self.completed, advance=advance)
        self._file.finish(name)

    def _runs(self) -> Iterator[Callable[[], object]]:
        """A function for each batch that runs the model on it."""
        for item in self._loader:
            batch = self._input(batch_of(item, self.model).beside(self.model))
            if len(batch):
                yield partial(run, self.model, batch)

    def _record(self, epoch: int | str, *, with_images: bool, advance: Callable[[int], None] | None) -> None:
        """Write the values of an epoch, or of the control of a name."""
        self._file.begin(epoch)
        start = 0
        with evaluating(self.model), eager(), self._recorder, BackgroundWriter() as writer:
            for item in self._loader:
                batch = batch_of(item, self.model).beside(self.model)
                if not len(batch):
                    continue
                stop = start + len(batch)
                if stop > self._num_images:
                    raise StripeError(f"The loader gave more than the {self._num_images} images that it announced.")
                # not inference_mode: tensors that a model caches in it could not be used in training afterwards
                with torch.no_grad():
                    run(self._recorder.model, self._input(batch))
                packed = self._recorder.take_packed()
                writer.submit(self._write_images if with_images else self._check_images, start, batch)
                writer.submit(self._write_values, epoch, start, packed)
                start = stop
                if advance:
                    advance(len(batch))
        if start != self._num_images:
            raise StripeError(f"The loader gave {start} images, not the {self._num_images} that it announced.")

    def _input(self, batch: Batch) -> Batch:
        return batch.on(self.model, self._preprocess)

    def _write_values(self, epoch: int | str, start: int, packed: Tensor) -> None:
        values = self._recorder.unpack(packed.cpu())
        self._file.write(
            epoch,
            start,
            {
                site: {name: part.numpy() for name, part in recorded._asdict().items() if part is not None}
                for site, recorded in values.items()
            },
        )

    def _write_images(self, start: int, batch: Batch) -> None:
        self._file.write_images(start, batch.labels.cpu().numpy(), self._thumbnails(batch))

    def _check_images(self, start: int, batch: Batch) -> None:
        """Refuse images whose labels or thumbnails are not those in the file."""
        labels = batch.labels.cpu().numpy()
        held_labels, held = self._file.images(start, start + len(labels))
        seen = self._thumbnails(batch)
        same = np.array_equal(held_labels, labels) and (held is None) == (seen is None)
        if same and held is not None and seen is not None:
            same = held.shape == seen.shape and np.abs(held.astype(int) - seen).max(initial=0) <= TOLERANCE
        if not same:
            raise StripeError(
                f"{self.path} holds other images at places {start} to {start + len(labels) - 1}. The loader must give "
                "the same images in the same order at every epoch: don't shuffle it. For other images give another "
                "output file."
            )

    def _thumbnails(self, batch: Batch) -> np.ndarray[Any, Any] | None:
        """Thumbnails of a batch; refuse images that have another size than the first, unless they come as lists."""
        shape = _shape(batch)
        if shape != self._image_shape:
            raise StripeError(
                f"The images have different sizes, such as {self._image_shape} and {shape}; a capture compares the "
                "same places of all images: give the loader images of one size."
            )
        pictures = thumbnails(batch.images)
        return None if pictures is None else pictures.numpy()


def _shape(batch: Batch) -> tuple[int, ...] | None:
    """Shape of each image of a batch; None if the images come as a list."""
    return tuple(batch.images.shape[1:]) if isinstance(batch.images, Tensor) else None


def capture(
    model: nn.Module,
    loader: Loader,
    path: str | Path,
    *,
    epochs: Sequence[int | Epoch] = (Epoch(0),),
    load: Callable[[Epoch], float] | None = None,
    controls: Sequence[str] = (),
    fresh: Callable[[], nn.Module] | None = None,
    seed: int = 0,
    optional_controls: bool = False,
    **settings: Any,
) -> Path:
    """Record a model's attention over the loader's images at one or many checkpoints.

    Epochs that the file already holds are skipped, so that the same call completes an interrupted capture.

    Args:
        model: Any module that takes a batch of images.
        loader: The images, as a ``DataLoader`` that is not shuffled or another ``stripe.capture.Loader``.
        path: Path of the capture file.
        epochs: The epochs to record; by default epoch 0, with the weights that the model has.
        load: Function that loads the weights of an epoch into the model and returns the learning rate that it was
            trained with, or NaN.
        controls: Controls to record of the same images, each of which takes as long as an epoch. ``init`` is the
            network at initialisation, with the statistics of its batch normalisations taken from the images unless the
            model has none either. ``permuted`` is the network of the last epoch, with the parameters of its gates
            permuted within their tensors: those whose only way to the output runs through a gate.
        fresh: Function that builds the same network at initialisation, for the control ``init``. Without one, each
            module of the model is reset by its own ``reset_parameters``.
        seed: Seed of the controls, which the file keeps.
        optional_controls: Whether a control that the model cannot have is left out with a warning.
        **settings: Further arguments of ``stripe.capture.CaptureSession``.

    Returns:
        The path of the file.

    Raises:
        StripeError: There is no site to record, there are no images, the model cannot have a control, or the file can't
            be used.

    Example:
        >>> capture(timm.create_model("seresnet50"), DataLoader(images, 64), "attention.h5")   # doctest: +SKIP
    """
    check_weights(model)
    wanted = [Epoch(epoch) if isinstance(epoch, int) else epoch for epoch in epochs]
    if load is None:  # the digest of the model's own weights tells whether a capture can be resumed
        digest = weights_digest(unwrap(model))
        wanted = [replace(epoch, digest=epoch.digest or digest) for epoch in wanted]
    wanted = sorted(wanted, key=lambda epoch: epoch.number)
    plan = ControlPlan((controls,) if isinstance(controls, str) else tuple(controls), fresh, seed, optional_controls)

    held: dict[int, float] = {}  # the epoch whose weights the model has: its learning rate

    def take(epoch: Epoch) -> float:
        if epoch.number not in held:
            held.clear()
            held[epoch.number] = load(epoch) if load else float("nan")
        return held[epoch.number]

    def planned(session: CaptureSession) -> Sequence[Control]:
        if "init" in plan.names:  # the statistics of the last epoch decide how it is made
            with suppress(Exception):  # what cannot be loaded is refused when its turn comes
                take(wanted[-1])
        return plan.controls(session.model, session.sample, session.attention, wanted[-1])

    with CaptureSession(model, loader, path, epochs=wanted, controls=planned, **settings) as session:
        todo = [epoch for epoch in wanted if epoch.number not in session.completed]
        beside = [control for control in session.controls if control not in session.completed_controls]
        if not todo and not beside:
            logger.warning("%s already holds all %d epochs; nothing was recorded", path, len(wanted))
        with progress_bar() as progress:
            task = progress.add_task("capture", total=(len(todo) + len(beside)) * session._num_images, note="")

            def advance(images: int) -> None:
                progress.advance(task, images)

            for epoch in todo:
                progress.update(task, note=f"epoch {epoch.number}")
                session.record(epoch.number, learning_rate=take(epoch), advance=advance)
            if beside:
                take(wanted[-1])
            statistics = has_statistics(session.model)
            for name in beside:
                progress.update(task, note=f"control {name}")
                with restored(session.model):
                    plan.apply(name, session.model, session.sample, session.attention)
                    session.record_control(name, statistics=statistics and name == "init", advance=advance)
    return Path(path)


def select_sites(found: Sequence[Site], pattern: str = "*") -> list[Site]:
    """Select the attention sites whose names match a pattern.

    Args:
        found: All sites of a model.
        pattern: Pattern as for file names, such as ``layer3.*``.

    Raises:
        StripeError: No site matches; the message lists what the model has.
    """
    dependent = [site for site in found if site.is_attention]
    if not dependent:
        raise StripeError(f"The model has no attention site: {no_attention(found)}")
    chosen = matching([site.name for site in dependent], pattern, "the model")
    return [site for site in dependent if site.name in chosen]


def no_attention(found: Sequence[Site]) -> str:
    """Explain why a model has no attention site: what was looked for, what was found, and what cannot be seen."""
    unknown = [site for site in found if site.input_dependent is None]
    others = [site for site in found if site.input_dependent and not site.is_attention]
    constants = [site for site in found if site.input_dependent is False]
    message = "no multiplication of a map by something smaller that depends on the image was found."
    if constants:
        message += f" It has {len(constants)} constant factors: {_some(constants)}."
    if others:
        message += f" It has {len(others)} normalisations or masks: {_some(others)}."
    if unknown:
        message += (
            f" Of {len(unknown)} factors it is not known whether they depend on the image, whose values leave torch "
            f"(item, numpy) before: {_some(unknown)}."
        )
    return message + (
        " Gates of the full size of the map are not seen, nor products that are written as matmul or as a convolution, "
        "nor factors that were made Python numbers."
    )


def _some(sites: Sequence[Site]) -> str:
    return ", ".join(site.name for site in sites[:6]) + (" …" if len(sites) > 6 else "")
