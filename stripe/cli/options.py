"""Options that several commands share, defined once so that they have the same meaning everywhere."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from stripe.names import registered

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


def _apply(options: list[Callable[[Any], Any]]) -> Callable[[Command], Command]:
    def decorate(function: Command) -> Command:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def model_options(function: Command) -> Command:
    """``--model``, ``--attention``, ``--num-classes``, ``--pretrained``, ``--model-arg``."""
    return _apply(
        [
            click.option(
                "--model",
                "model_spec",
                metavar="SPEC",
                help="resnet83 (any depth 9n+2), vgg19, mobilenet, repvgg_a0, resnet56-acnet …; torchvision:NAME, "
                "timm:NAME, onnx:FILE or python:package.module:factory.",
            ),
            click.option(
                "--attention",
                metavar="NAME",
                help=f"Attention module to put into the network: none, {', '.join(registered('stripe.attention'))}.",
            ),
            click.option("--num-classes", type=click.IntRange(1), help="Default: as many as the data has."),
            click.option("--pretrained", is_flag=True, help="Download published weights (torchvision:, timm:)."),
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


def image_size_option(function: Command) -> Command:
    """``--image-size``."""
    return click.option(
        "--image-size",
        type=ImageSizeType(),
        help="Of the images in pixels: a side, or height x width as 48x192. Default: what the model expects.",
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


def precision_option(function: Command) -> Command:
    """``--precision`` of training."""
    return click.option(
        "--precision",
        type=click.Choice(["float32", "bfloat16"]),
        help="Of training. Default: bfloat16 on GPUs that have it, else float32; newer CPUs train twice as fast in "
        "bfloat16.",
    )(function)


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
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="How to print the table.",
    )(function)
