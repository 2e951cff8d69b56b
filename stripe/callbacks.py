"""Attention in the logs of a training: numbers of every site, and figures, for TensorBoard, W&B and Lightning.

``AttentionLog`` serves any training loop, ``lightning_callback`` a ``Trainer`` of Lightning. No logger is imported;
they are known by their methods.
"""

import math
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch import nn

from stripe import plots
from stripe.analysis import evidence, metrics
from stripe.capture import Capture, CaptureSession, as_capture
from stripe.capture.loader import Loader
from stripe.errors import StripeError

__all__ = ["AttentionLog", "lightning_callback"]

_NUMBERS = {"stripe_index": "stripe_index", "std": "std_mean", "output_error": "output_error"}
"""Name in the log → column of ``metrics`` or ``evidence``."""


class AttentionLog:
    """Writes how constant attention is into one or several logs, at the moments of a training that you choose.

    Each time, the images run through the model in evaluation mode and without gradients, as in a capture; its mode is
    restored afterwards. For each site there are three numbers: the stripe index η² (1: the same for every image), the
    standard deviation over images of a channel (the mean over the channels), and the output error, by how much the
    output of the site moves if a constant takes the place of attention (0.05: 5 %).

    Args:
        model: Any module, as for ``stripe.capture.CaptureSession``.
        loader: The same images in the same order each time; some hundred are enough.
        to: Where to: a ``SummaryWriter`` of TensorBoard, a run of Weights & Biases, a logger of Lightning, or a list of
            such. A logger of Lightning for anything else gets the numbers and no figures.
        figures: Kinds of plot to draw, which are of one capture at one epoch, such as ``stripe``, ``std`` or ``index``.
        sites: Pattern that the names of the sites must match: ``layer3.*``.
        prefix: First part of the names in the log, as in ``attention/layer1.0.se/stripe_index``.
        **settings: Further arguments of ``CaptureSession``, such as ``preprocess``.

    Raises:
        StripeError: There is no such kind of plot, or something in ``to`` has no method to write with.

    Example:
        >>> writer = SummaryWriter()  # doctest: +SKIP
        >>> log = AttentionLog(model, loader, writer)  # doctest: +SKIP
        >>> for epoch in range(epochs):  # doctest: +SKIP
        ...     train_one_epoch(model)
        ...     log.record(epoch)
    """

    def __init__(
        self,
        model: nn.Module,
        loader: Loader,
        to: Any,
        *,
        figures: Sequence[str] = ("stripe",),
        sites: str = "*",
        prefix: str = "attention",
        **settings: Any,
    ) -> None:
        if isinstance(figures, str):
            raise StripeError(f"figures= is a list, be it of one: write [{figures!r}].")
        known = [name for name in plots.KINDS if name not in ("diff", "gradcam")]  # which need more than an epoch
        if unknown := [name for name in figures if name not in known]:
            raise StripeError(f"figures= takes {', '.join(known)}, not {unknown[0]!r}.")
        self._logs = list(to) if isinstance(to, list | tuple) else [to]
        for log in self._logs:
            _writers(log)  # raises where there is none
        self._model, self._loader, self._sites, self._settings = model, loader, sites, settings
        self._figures, self._prefix = tuple(figures), prefix

    def record(self, step: int) -> dict[str, float]:
        """Measure attention as it is now, and write it.

        Args:
            step: Number of the epoch or of the step of the training, which the log has as its axis.

        Returns:
            The numbers, by the names that they have in the log. A number that is undefined is left out, as the output
            error where the output is 0.

        Raises:
            StripeError: There is no site to record, there are no images, or they are not those of the last time.
        """
        with tempfile.TemporaryDirectory(prefix="stripe-") as folder:
            path = Path(folder) / "capture.h5"
            with CaptureSession(
                self._model, self._loader, path, epochs=[step], sites=self._sites, **self._settings
            ) as session:
                session.record(step)
            capture = as_capture(path)
            numbers = self._numbers(capture)
            figures = {f"{self._prefix}/{kind}": figure for kind, figure in self._drawn(capture).items()}
            capture.tree.close()
        for log in self._logs:
            _write(log, numbers, figures, step)
        return numbers

    def _numbers(self, capture: Capture) -> dict[str, float]:
        found = metrics(capture).merge(evidence(capture, resamples=1)[["site", "output_error"]], on="site")
        named = {
            f"{self._prefix}/{row['site']}/{name}": float(row[column])
            for row in found.to_dict("records")
            for name, column in _NUMBERS.items()
        }
        return {name: value for name, value in named.items() if math.isfinite(value)}

    def _drawn(self, capture: Capture) -> dict[str, Figure]:
        drawn = {}
        for kind in self._figures:
            try:
                drawn[kind] = plots.draw(kind, capture)
            except plots.NothingToDrawError:  # of spatial attention where there is none, for example
                continue
        return drawn


def lightning_callback(loader: Loader, *, every: int = 1, **settings: Any) -> Any:
    """A callback for a ``Trainer`` of Lightning, which writes attention into all of the trainer's loggers.

    It writes before the training and after every so many epochs, of the module that is trained, in the first process
    alone. The axis is the trainer's ``global_step``, as of everything else that Lightning writes.

    Args:
        loader: As for ``AttentionLog``: images as the module takes them.
        every: After how many epochs it writes.
        **settings: Further arguments of ``AttentionLog``.

    Returns:
        A ``lightning.pytorch.Callback``, or one of ``pytorch_lightning`` where that is what you use.

    Raises:
        StripeError: Lightning is not installed, or ``every`` is below 1.

    Example:
        >>> Trainer(callbacks=[lightning_callback(loader, every=5)])  # doctest: +SKIP
    """
    if every < 1:
        raise StripeError(f"every= is a number of epochs from 1 on, not {every}.")

    class AttentionCallback(_callback_class()):  # type: ignore[misc]
        """Writes attention into the loggers of the trainer."""

        log: AttentionLog | None = None

        def on_train_start(self, trainer: Any, module: nn.Module) -> None:
            if trainer.is_global_zero and trainer.loggers:
                self.log = AttentionLog(module, loader, list(trainer.loggers), **settings)
                self.log.record(trainer.global_step)

        def on_train_epoch_end(self, trainer: Any, module: nn.Module) -> None:
            if self.log is not None and (trainer.current_epoch + 1) % every == 0:
                self.log.record(trainer.global_step)

    return AttentionCallback()


def _callback_class() -> Any:
    """The class of callbacks of the Lightning that is in use, of which there are two packages."""
    names = ["lightning.pytorch", "pytorch_lightning"]
    for name in sorted(names, key=lambda name: name.partition(".")[0] not in sys.modules):
        try:
            return import_module(name).Callback
        except ImportError:
            continue
    raise StripeError("A callback of Lightning needs Lightning: pip install lightning.")


def _writers(log: Any) -> Any:
    """What writes figures: the writer or run inside a logger of Lightning, or the log itself."""
    inner = getattr(log, "experiment", log) if hasattr(log, "log_metrics") else log
    if hasattr(inner, "add_scalar") or hasattr(inner, "log") or hasattr(log, "log_metrics"):
        return inner
    raise StripeError(
        f"{type(log).__name__} is no log: to= takes a SummaryWriter, a run of Weights & Biases or a logger of "
        "Lightning."
    )


def _write(log: Any, numbers: dict[str, float], figures: dict[str, Figure], step: int) -> None:
    inner = _writers(log)
    if hasattr(inner, "add_scalar"):
        for name, value in numbers.items():
            inner.add_scalar(name, value, global_step=step)
        for name, figure in figures.items():
            inner.add_figure(name, figure, global_step=step)
    elif hasattr(log, "log_metrics"):
        log.log_metrics(numbers, step=step)
        if hasattr(log, "log_image"):
            for name, figure in figures.items():
                log.log_image(name, [figure], step=step)
    else:
        wandb = sys.modules.get("wandb")  # which makes charts of its own from what is no image
        images = {name: figure if wandb is None else wandb.Image(figure) for name, figure in figures.items()}
        inner.log({**numbers, **images}, step=step)
