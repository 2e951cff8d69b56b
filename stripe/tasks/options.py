"""Options of the tasks: what a run may say of its task beyond the name; read from a command line, they need no torch.

The options of a task are a frozen dataclass under ``@options_of(NAME)``. Its fields have the types, defaults and
metadata (``help``, ``range``, ``metavar``) of those of ``stripe.training.RunConfig``, so that ``stripe train`` makes
flags of them, and recipes and Python give them as ``task_args``.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from stripe.errors import StripeError
from stripe.models.spec import Range, fits, in_words, out_of_range
from stripe.names import did_you_mean

__all__ = [
    "OPTIONS",
    "DetectionOptions",
    "SearchOptions",
    "SegmentationOptions",
    "StyleOptions",
    "made",
    "options_of",
    "unusual",
]

Options = TypeVar("Options", bound=type)

OPTIONS: dict[str, type] = {}
"""Name of a task → the dataclass of its options; a task that has none is not in here."""


def options_of(task: str) -> Callable[[Options], Options]:
    """Decorate the dataclass of a task's options.

    Args:
        task: Name of the task.
    """

    def note(options: Options) -> Options:
        OPTIONS[task] = options
        return options

    return note


_SCALE = {"metavar": "LOW,HIGH", "help": "Factors between which training images are scaled at random."}
_PHOTOMETRIC = {"help": "Change brightness, contrast, saturation and hue of training images at random."}


@options_of("detection")
@dataclass(frozen=True)
class DetectionOptions:
    """How images and their boxes are varied in training; besides, half of them are flipped.

    Attributes:
        scale: The least and the largest factor by which an image is scaled, drawn evenly.
        photometric: Whether the colours are changed, too.
    """

    scale: tuple[float, float] = field(default=(1.0, 1.0), metadata=_SCALE)
    photometric: bool = field(default=False, metadata=_PHOTOMETRIC)

    def __post_init__(self) -> None:
        _check_scale(self.scale)


@options_of("segmentation")
@dataclass(frozen=True)
class SegmentationOptions:
    """The loss, and how images and their maps of classes are varied in training; besides, half of them are flipped.

    Attributes:
        aux_weight: The weight of the loss of a network's second output, where it has one.
        scale: The least and the largest factor by which an image is scaled, drawn evenly.
        crop: Height and width of the random part of a scaled image that is trained on, in pixels; where the data has
            one image size, that is taken.
        photometric: Whether the colours are changed, too.
    """

    aux_weight: float = field(
        default=0.5, metadata={"range": Range(0), "help": "Weight of the loss of a network's second output, if any."}
    )
    scale: tuple[float, float] = field(default=(0.5, 2.0), metadata=_SCALE)
    crop: int = field(
        default=480,
        metadata={"range": Range(8), "help": "Pixels of the random part trained on, of images of different sizes."},
    )
    photometric: bool = field(default=False, metadata=_PHOTOMETRIC)

    def __post_init__(self) -> None:
        _check_scale(self.scale)


def _check_scale(scale: tuple[float, float]) -> None:
    low, high = scale
    if not 0 < low <= high < math.inf:
        raise StripeError(
            f"scale is {low:g},{high:g}; it must be the least factor, above 0, and then the largest, such as 0.5,2"
        )


def made(kind: type | None, values: Mapping[str, Any], task: str) -> Any:
    """The options of a task from their values.

    Args:
        kind: The dataclass; None: the task has no options.
        values: Name of a field → value, as JSON, TOML or Python give it. The others have their defaults.
        task: Name of the task, for the message.

    Returns:
        An object of ``kind``, or None.

    Raises:
        StripeError: The task has no such option, or a value is not of its type or range.
    """
    known = {entry.name for entry in fields(kind)} if kind else set()
    if strange := sorted(set(values) - known):
        has = f"it has {', '.join(sorted(known))}" if known else "it has none"
        close = did_you_mean(strange[0], known)
        raise StripeError(f"the task {task} has no option {strange[0]!r}; {has}{close}")
    if kind is None:
        return None
    kinds = get_type_hints(kind)
    for name, value in values.items():
        if not fits(value, kinds[name]):
            raise StripeError(f"{name} is {value!r}; it must be {in_words(kinds[name])}")
    options = kind(**{name: _plain(value, kinds[name]) for name, value in values.items()})
    for name, numbers in out_of_range(options).items():
        raise StripeError(f"{name} is {getattr(options, name)}; it must be {in_words(kinds[name])}, {numbers}")
    return options


def _plain(value: Any, kind: Any) -> Any:
    """A value as its field has it, so that equal options are equal objects: numbers as floats, lists as tuples."""
    if get_origin(kind) is tuple:
        inner = get_args(kind)
        return tuple(_plain(each, inner[0]) for each in value)
    return float(value) if kind is float else value


def unusual(options: Any) -> dict[str, Any]:
    """Those of a task's options that are not as by default.

    Args:
        options: An object of its dataclass; None where a task has no options.
    """
    if options is None:
        return {}
    usual = asdict(type(options)())
    return {name: value for name, value in asdict(options).items() if value != usual[name]}


@options_of("search")
@dataclass(frozen=True)
class SearchOptions:
    """Options of a structure search, see ``stripe.tasks.search``; the defaults of the penalty are the report's.

    Attributes:
        penalty: w of the penalty ``w · Σᵢ pᵢᵐ · rᵢ`` on the weights p of the ways to put attention together; 0: none.
        penalty_power: Its m.
        penalty_ratios: Its r, of the identity, CA→SA, SA→CA, CA and SA.
        alpha_lr: Rate of Adam for α. Ten times that of DARTS: with its 3e-4 no α comes as far from 0 in ten epochs as
            those of the report's tables have come.

    Raises:
        StripeError: There are not five ratios, or one is negative.
    """

    penalty: float = field(
        default=0.1,
        metadata={"range": Range(0), "metavar": "W", "help": "w of the penalty w·Σ pᵐ·r on the weights p; 0: none."},
    )
    penalty_power: float = field(
        default=1.1, metadata={"range": Range(0, low_open=True), "metavar": "M", "help": "m of the penalty."}
    )
    penalty_ratios: tuple[float, ...] = field(
        default=(4.0, 1.0, 1.0, 2.0, 2.0),
        metadata={"metavar": "R,R,R,R,R", "help": "r of the penalty: of identity, CA→SA, SA→CA, CA and SA."},
    )
    alpha_lr: float = field(
        default=3e-3, metadata={"range": Range(0, low_open=True), "help": "Rate of Adam for α; it stays the same."}
    )

    def __post_init__(self) -> None:
        ratios = self.penalty_ratios
        if len(ratios) != 5 or not all(ratio in Range(0) for ratio in ratios):
            said = ",".join(f"{ratio:g}" for ratio in ratios)
            raise StripeError(
                f"penalty_ratios is {said}; five numbers of at least 0 are wanted, of identity, CA→SA, SA→CA, CA and SA"
            )


@options_of("style")
@dataclass(frozen=True)
class StyleOptions:
    """Options of style transfer.

    Attributes:
        style: The picture whose style is learned: an image file, or ``drawn:NAME`` or ``drawn:NAME:SEED`` for one that
            ``stripe.data.paintings`` draws.
        style_size: Pixels of the shorter side to which the picture is scaled; None: as it is, but at most 512, and 256
            of a drawn one.
        content_weight: Factor of the content loss.
        style_weight: Factor of the style loss.
        tv_weight: Factor of the total variation; PyTorch's example has none.
        perceptual: Name of the classifier whose features are compared, as for ``stripe.models.build``. None: that of
            ``perceptual_ckpt``, else ``torchvision:vgg16``.
        perceptual_ckpt: Its weights; None: those published.
        content_layer: Module whose output the content loss compares. None: the second of the default style layers.
        style_layers: Modules whose outputs the style loss compares. None: the last ones of the first four resolutions,
            which are relu1_2, relu2_2, relu3_3 and relu4_3 of a VGG-16.
        freeze_norm: Epochs after which batch normalisation takes its running statistics in training, too, and no longer
            those of the batch; None: never.
        pictures: Held-out images that are drawn after each epoch, into the folder ``pictures`` of the run.
    """

    style: str = field(
        default="drawn:mosaic",
        metadata={"metavar": "IMAGE", "help": "The picture whose style is learned: a file, or drawn:NAME[:SEED]."},
    )
    style_size: int | None = field(
        default=None,
        metadata={
            "range": Range(8),
            "help": "Pixels of its shorter side. Default: as it is, 512 at most; 256 of a drawn one.",
        },
    )
    content_weight: float = field(default=1e5, metadata={"range": Range(0), "help": "Factor of the content loss."})
    style_weight: float = field(default=1e10, metadata={"range": Range(0), "help": "Factor of the style loss."})
    tv_weight: float = field(default=0.0, metadata={"range": Range(0), "help": "Factor of the total variation."})
    perceptual: str | None = field(
        default=None,
        metadata={
            "metavar": "SPEC",
            "help": "Classifier whose features are compared. Default: that of --perceptual-ckpt, else "
            "torchvision:vgg16.",
        },
    )
    perceptual_ckpt: str | None = field(
        default=None, metadata={"metavar": "FILE", "help": "Its weights. Default: those published, downloaded."}
    )
    content_layer: str | None = field(
        default=None,
        metadata={"metavar": "NAME", "help": "Layer of the content loss. Default: the second of the style layers."},
    )
    style_layers: tuple[str, ...] | None = field(
        default=None,
        metadata={
            "metavar": "NAME,…",
            "help": "Layers of the style loss. Default: the last ones of the first four resolutions (of a VGG-16: "
            "relu1_2, 2_2, 3_3, 4_3).",
        },
    )
    freeze_norm: int | None = field(
        default=None,
        metadata={
            "range": Range(1),
            "metavar": "K",
            "help": "After K epochs batch normalisation no longer takes the statistics of the batch. Default: never.",
        },
    )
    pictures: int = field(
        default=4,
        metadata={
            "range": Range(0),
            "help": "Held-out images to draw after each epoch, in OUT/pictures; --images-per-epoch makes epochs short.",
        },
    )
