"""Options that several commands share, defined once so that they have the same meaning everywhere."""

import math
from collections.abc import Callable
from dataclasses import MISSING
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import click

from stripe.models.spec import Range
from stripe.registry import registered
from stripe.training import RunConfig

if TYPE_CHECKING:
    from stripe.data import ImageSize, Normalization

__all__ = [
    "KeyValue",
    "channels_option",
    "data_options",
    "device_option",
    "format_option",
    "image_size_option",
    "model_options",
    "option_of",
    "precision_option",
    "split_option",
    "weights_option",
    "workers_option",
]

Command = TypeVar("Command", bound=Callable[..., Any])


class KeyValue(click.ParamType[tuple[str, Any]]):
    """``key=value``, whose value is read as JSON if it is valid JSON, and as text otherwise."""

    name = "KEY=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        """Parse one ``key=value``."""
        import json

        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        if not equals or not key.isidentifier():
            self.fail(f"{value!r} is not of the form key=value", param, ctx)
        try:
            return key, json.loads(text)
        except json.JSONDecodeError:
            return key, text


class AttentionName(click.ParamType[str]):
    """Attention as it is written; the directory of a structure search stands for what that has found."""

    name = "NAME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """A name as it is, a directory as the list of what was found, which is what a run records."""
        folder = Path(str(value))
        if value in ("none", *registered("stripe.attention")) or not folder.is_dir():
            return str(value)
        from stripe.cli.runs import open_runs
        from stripe.errors import StripeError
        from stripe.tasks import structure

        run, *more = open_runs([folder])
        if more:
            raise StripeError(
                f"{folder} holds {len(more) + 1} searches, each with a choice of its own: name one, as {run.path}."
            )
        found = structure.read(run.path)
        if (done := found.sizes["epoch"]) < (planned := run.settings["recipe"]["epochs"]):
            raise StripeError(f"The search in {folder} has finished {done} of {planned} epochs; go on with it first.")
        return structure.attention_of(found)


class NormalizationType(click.ParamType["Normalization"]):
    """A normalisation: a name, or mean and std as numbers."""

    name = "NAME|MEAN/STD"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "Normalization":
        """Parse one."""
        from stripe.data import Normalization, parse_normalization
        from stripe.errors import StripeError

        if isinstance(value, Normalization):
            return value
        try:
            return parse_normalization(str(value))
        except StripeError as error:
            self.fail(str(error), param, ctx)


class ListType(click.ParamType[tuple[Any, ...]]):
    """Values with commas between them.

    Args:
        each: Click's type of one.
        count: How many there must be; None: at least one.
    """

    def __init__(self, each: Any, count: int | None = None) -> None:
        self.each, self.count = click.types.convert_type(each), count
        self.name = ",".join([self.each.name.upper()] * count) if count else f"{self.each.name.upper()},…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        """Parse them."""
        if isinstance(value, tuple):
            return value
        parts = str(value).split(",")
        if self.count not in (None, len(parts)):
            self.fail(f"{value!r} is not {self.count} values with a comma between them", param, ctx)
        return tuple(self.each.convert(part.strip(), param, ctx) for part in parts)


SMALLEST = 8
"""Least side of an image in pixels; in smaller ones most networks have nothing left to convolve."""


class ImageSizeType(click.ParamType["ImageSize"]):
    """The size of images: one side, or height and width."""

    name = "SIDE|HEIGHTxWIDTH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "ImageSize":
        """Parse one."""
        from stripe.data import parse_size, sides
        from stripe.errors import StripeError

        try:
            size = parse_size(value)
        except StripeError as error:
            self.fail(str(error), param, ctx)
        if min(sides(size)) < SMALLEST:
            self.fail(f"{value} is too small: each side must be at least {SMALLEST} pixels.", param, ctx)
        return size


def option_of(
    settings: type, name: str, *, absent: str | None = None, **otherwise: Any
) -> Callable[[Command], Command]:
    """The option of a setting, whose flag, type, range, default and help are those of a dataclass's field.

    Args:
        settings: The dataclass, ``RunConfig`` or ``Recipe``. The metadata of the field has ``help``, and may have
            ``range`` and ``metavar``.
        name: Name of the field. The option is a flag without a value if the field is a truth value.
        absent: What is taken where the option is not given, for the help; the command is given None then.
        **otherwise: Arguments of ``click.option`` that take the place of those of the field, such as ``type``.

    A truth value that is true by default has a flag that negates it, too: ``--masks/--no-masks``.
    """
    entry = settings.__dataclass_fields__[name]  # type: ignore[attr-defined]
    default = None if absent or entry.default is MISSING else entry.default
    said = [entry.metadata.get("help"), absent and f"Default: {absent}."]
    option = {
        "type": _type_of(get_type_hints(settings)[name], entry.metadata.get("range")),
        "help": " ".join(filter(None, said)),
        "metavar": entry.metadata.get("metavar"),
        "default": default,
        "show_default": default is not None,
    }
    flag = f"--{name.replace('_', '-')}"
    if option["type"] is bool:
        option |= {"type": None, "is_flag": True, "show_default": entry.default is True}
        flag += f"/--no-{flag[2:]}" if entry.default is True else ""
    return click.option(flag, name, **(option | otherwise))


def _type_of(kind: Any, numbers: Range | None) -> Any:
    """Click's type for values of an annotated type, None aside; text for what has no type of its own there."""
    (kind, *others) = (
        [each for each in get_args(kind) if each is not NoneType] if NoneType in get_args(kind) else [kind]
    )
    if get_origin(kind) is Literal:
        return click.Choice(get_args(kind))
    if get_origin(kind) is tuple:
        each, *others = get_args(kind)
        return ListType(_type_of(each, numbers), None if others == [...] else 1 + len(others))
    if others or kind not in (int, float, bool):
        return str
    if numbers is None:
        return kind
    low, high = (bound if math.isfinite(bound) else None for bound in (numbers.low, numbers.high))
    between: Any = click.IntRange if kind is int else click.FloatRange
    return between(low, high, min_open=numbers.low_open, max_open=numbers.high_open)


def _apply(options: list[Callable[[Any], Any]]) -> Callable[[Command], Command]:
    def decorate(function: Command) -> Command:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


image_size_option = option_of(RunConfig, "image_size", type=ImageSizeType())
precision_option = option_of(RunConfig, "precision")


def model_options(function: Command) -> Command:
    """``--model``, ``--attention``, ``--num-classes``, ``--pretrained``, ``--model-arg``."""
    return _apply(
        [
            click.option(
                "--model",
                "model_spec",
                metavar="SPEC",
                help="resnet83 (any depth 9n+2), vgg19, mobilenet, repvgg_a0, resnet56-acnet …; torchvision:NAME, "
                "timm:NAME, onnx:FILE or python:package.module:factory. A detector or segmenter on one of these: "
                "maskrcnn:resnet20, fasterrcnn:timm:seresnet50, retinanet:…, deeplabv3:…, fcn:….",
            ),
            click.option(
                "--attention",
                type=AttentionName(),
                metavar="NAME",
                help=f"Attention to put into the network: none, {', '.join(registered('stripe.attention'))}; an order "
                "of the halves as cbam:sa>ca, options as cbam,k=3, a combination as spsa+se, or a list with one entry "
                "for each block as se/none/eca; or the folder of a run of `stripe search`.",
            ),
            option_of(RunConfig, "num_classes"),
            option_of(RunConfig, "pretrained"),
            click.option(
                "--model-arg",
                "model_args",
                type=KeyValue(),
                multiple=True,
                help="Further argument of the model's constructor; may be repeated.",
            ),
        ]
    )(function)


def data_options(function: Command) -> Command:
    """``--data``, ``--data-root``, ``--download``, ``--image-size``, ``--normalize``, ``--channels``."""
    return _apply(
        [
            click.option(
                "--data",
                "data_spec",
                metavar="SPEC",
                help=f"The data set: {', '.join(registered('stripe.data'))}; shapes needs no files.",
            ),
            click.option(
                "--data-root",
                type=click.Path(file_okay=False),
                help="Where torchvision's data sets lie. Default: $STRIPE_DATA, then ./data.",
            ),
            click.option("--download", is_flag=True, help="Fetch the data set when it is not there."),
            image_size_option,
            click.option(
                "--normalize",
                type=NormalizationType(),
                help="Mean and std of the images that the network was trained with: imagenet, cifar10, cifar100, "
                "stl10, shapes, half (.5/.5), none, or numbers for images in 0..1, as 0.5/0.25 or "
                "0.48,0.45,0.4/0.2,0.2,0.2. Default: the checkpoint's, those of published weights, the data's own.",
            ),
            channels_option,
        ]
    )(function)


def channels_option(function: Command) -> Command:
    """``--channels``."""
    return click.option(
        "--channels",
        type=click.IntRange(1),
        help="Of the images: 3, or 1 for grey. Default: what the network's first convolution takes.",
    )(function)


def device_option(function: Command) -> Command:
    """``--device``."""
    return click.option("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps. Default: a GPU where there is one.")(
        function
    )


def weights_option(function: Command) -> Command:
    """``--weights``."""
    return click.option(
        "--weights",
        "entry",
        metavar="NAME",
        help="Which weights of a checkpoint that holds several: `ema`, an entry such as state_dict_ema, or a part of "
        "the parameters' names such as teacher.",
    )(function)


def split_option(function: Command) -> Command:
    """``--split`` for commands that need no labels."""
    return click.option(
        "--split",
        type=click.Choice(["test", "train"]),
        help="Default: test; of a folder without train/ and test/ all images, unless the checkpoint was trained on it.",
    )(function)


def workers_option(function: Command) -> Command:
    """``--workers``."""
    return click.option(
        "--workers",
        type=click.IntRange(0),
        help="Processes that decode images. Default: as many as help, at most 8.",
    )(function)


def format_option(function: Command) -> Command:
    """``--format``."""
    return click.option(
        "--format",
        "output_format",
        type=click.Choice(["table", "json", "csv", "tex"]),
        default="table",
        show_default=True,
        help="How to print the table; tex: for LaTeX, with booktabs.",
    )(function)
