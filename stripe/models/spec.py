"""Which network: what checkpoints, captures and runs say of one, and what it is built from."""

import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from types import NoneType, UnionType
from typing import Any, Literal, Self, Union, get_args, get_origin, get_type_hints

from stripe.data.size import ImageSize, parse_size, sides, write_size
from stripe.errors import StripeError

__all__ = ["AsrSpec", "Mode", "ModelSpec", "NoiseSpec", "Range", "fits", "in_words", "out_of_range", "refuse_damage"]

LARGEST = 1 << 14
"""Pixels of a side of an image."""

Mode = Literal["none", "attention", "asr", "both"]


@dataclass(frozen=True)
class Range:
    """The finite numbers between two bounds, as the metadata ``range`` of a dataclass's field.

    Attributes:
        low: The lower bound.
        high: The upper bound.
        low_open: Whether the lower bound itself is excluded.
        high_open: Whether the upper bound itself is excluded.

    Example:
        >>> 0.5 in Range(0, 1), 1 in Range(0, 1, high_open=True)
        (True, False)
        >>> str(Range(0, 1, low_open=True))
        'more than 0 and at most 1'
    """

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    def __contains__(self, number: float) -> bool:
        above = self.low < number if self.low_open else self.low <= number
        below = number < self.high if self.high_open else number <= self.high
        return above and below and math.isfinite(number)

    def __str__(self) -> str:
        low = f"{'more than' if self.low_open else 'at least'} {self.low:g}"
        high = f"{'less than' if self.high_open else 'at most'} {self.high:g}"
        words = [text for text, bound in ((low, self.low), (high, self.high)) if math.isfinite(bound)]
        return " and ".join(words) or "finite"


@dataclass(frozen=True)
class AsrSpec:
    """ASR in a network, as `stripe.asr.reparameterize` takes it; its attributes are explained there."""

    attention: str = "se"
    where: str | list[str] | list[list[str]] | None = None
    psi: float | str | None = None
    learnable: bool = True
    copies: int = 1
    activation: str | None = None
    init: float | None = None
    start: Literal["paper", "alive"] | None = "paper"

    def to_meta(self) -> dict[str, Any]:
        """Ready for JSON; what the first release could not say is left away where it is not used."""
        later = {"activation": None, "init": None, "start": "paper"}
        return {key: value for key, value in asdict(self).items() if key not in later or value != later[key]}


@dataclass(frozen=True)
class NoiseSpec:
    """Noise in every batch normalisation, as `stripe.asr.noise.add_noise` takes it."""

    factor: float
    offset: float
    std: float = 0.0


@dataclass(frozen=True)
class ModelSpec:
    """A network, and the images that it is made for.

    Attributes:
        model: Its name, as for `stripe.models.build`; None where nobody says it, as in a checkpoint of a network of
            somebody else.
        attention: What is in the network's blocks, as for ``stripe.attention.attention_factory``.
        asr: ASR, None for none.
        noise: Noise, None for none.
        num_classes: Outputs of the classifier; None: as many as published, 10 for plain names.
        args: Further arguments of the model's constructor.
        image_size: Height and width of its images in pixels, one number where they are equal.
        mean: Of its images, one number per channel, in the range 0..1; with ``std`` it is its normalisation.
        std: The same.
        fused: Whether branches that are added up are one convolution.
        folded: Which attention was made constant, see `stripe.models.surgery.restructure`.
        model_sha256: The hash of the file of an ``onnx:`` model.

    Example:
        >>> ModelSpec.from_meta({"model": "resnet83", "asr": {"attention": "ie"}, "epoch": 3}).mode
        'asr'
    """

    model: str | None = None
    attention: str = "none"
    asr: AsrSpec | None = None
    noise: NoiseSpec | None = None
    num_classes: int | None = field(default=None, metadata={"range": Range(1, 1 << 20)})
    args: Mapping[str, Any] = field(default_factory=dict)
    image_size: ImageSize | None = None
    mean: list[Any] | None = None
    std: list[Any] | None = None
    fused: bool = False
    folded: Any = None
    model_sha256: str | None = None

    @property
    def mode(self) -> Mode:
        """What becomes of κ: it is in the network, ASR(κ) is instead, both are, or neither."""
        if self.asr is None:
            return "none" if self.attention == "none" else "attention"
        return "asr" if self.attention == "none" else "both"

    @property
    def normalization(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Mean and std of its images, of grey or colour; None where they are not said, or cannot be."""
        mean, std = _numbers(self.mean), _numbers(self.std)
        return (mean, std) if mean and std and len(mean) == len(std) and min(std) > 0 else None

    def to_meta(self) -> dict[str, Any]:
        """What files hold, ready for JSON: the network in any case, of the rest what is said."""
        meta = {
            "model": self.model,
            "mode": self.mode,
            "attention": self.attention,
            "asr": self.asr and self.asr.to_meta(),
            "noise": self.noise and asdict(self.noise),
            "num_classes": self.num_classes,
            "args": dict(self.args),
        }
        rest = {key: getattr(self, key) for key in ("image_size", "mean", "std", "fused", "folded", "model_sha256")}
        rest["image_size"] = self.image_size and write_size(self.image_size)
        return meta | {key: value for key, value in rest.items() if value not in (None, False)}

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any], source: str = "the checkpoint") -> Self:
        """The network that a file describes; other entries of the description are not looked at.

        Args:
            meta: The description; null is as good as no entry.
            source: The file, for the message.

        Raises:
            StripeError: An entry is damaged.
        """
        names = {entry.name for entry in fields(cls)}
        said = {key: value for key, value in meta.items() if key in names and value is not None}
        if "asr" in said:
            said["asr"] = _part(AsrSpec, said["asr"], source, "ASR")
        if "noise" in said:
            said["noise"] = _part(NoiseSpec, said["noise"], source, "noise")
        if "image_size" in said:
            said["image_size"] = _size(said["image_size"], source)
        refuse_damage(cls, said, source)
        return cls(**said)


def _size(value: Any, source: str) -> ImageSize:
    """A size as `stripe.data.write_size` wrote it."""
    try:
        if isinstance(value, int | str) and max(sides(size := parse_size(value))) <= LARGEST:
            return size
    except StripeError:  # it is said below
        pass
    raise _damage(source, "the model", "image_size", value)


def _damage(source: str, what: str, name: str, value: Any) -> StripeError:
    shown = repr(value)
    shown = shown if len(shown) <= 80 else f"{shown[:80]}…"
    return StripeError(f"{source}: its description of {what} is damaged: {name} is {shown}")


def refuse_damage(cls: type, values: Mapping[str, Any], source: str, what: str = "the model") -> None:
    """Make sure that values are what the fields of a dataclass are annotated with, and in their ranges.

    Args:
        cls: The dataclass; a field of numbers may have the metadata ``range``, a ``Range``.
        values: Name of a field → value, as JSON or TOML give it.
        source: Where they stand, for the message.
        what: What they describe, for the message.

    Raises:
        StripeError: A value is not; the message names the field.
    """
    kinds = get_type_hints(cls)
    for entry in fields(cls):
        if entry.name not in values:
            continue
        if not fits(values[entry.name], kinds[entry.name]) or _is_outside(values[entry.name], entry):
            raise _damage(source, what, entry.name, values[entry.name])


def out_of_range(settings: Any) -> dict[str, Range]:
    """The fields of a dataclass's object whose numbers are out of their ranges.

    Args:
        settings: The object; a field of numbers may have the metadata ``range``.

    Returns:
        Name of a field → its range.
    """
    return {
        entry.name: entry.metadata["range"]
        for entry in fields(settings)
        if _is_outside(getattr(settings, entry.name), entry)
    }


def _is_outside(value: Any, entry: Field[Any]) -> bool:
    return type(value) in (int, float) and value not in entry.metadata.get("range", Range())


def fits(value: Any, kind: Any) -> bool:
    """Whether a value, as JSON, TOML or Python give it, is of an annotated type.

    A list is as good as a tuple, a whole number as a number; but true is no number, though it is one in Python.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return True
    if origin in (Union, UnionType):
        return any(fits(value, each) for each in inner)
    if origin is Literal:
        return any(type(value) is type(each) and value == each for each in inner)
    if origin is tuple and inner[-1] is not Ellipsis:
        return isinstance(value, list | tuple) and len(value) == len(inner) and all(map(fits, value, inner))
    if origin in (list, tuple):
        return isinstance(value, list | tuple) and all(fits(each, inner[0]) for each in value)
    if kind in (int, float):
        return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    return isinstance(value, origin or kind)


def in_words(kind: Any) -> str:
    """An annotated type, as a message names it.

    Example:
        >>> in_words(tuple[float, float] | None)
        'two numbers or None'
    """
    inner = get_args(kind)
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(map(in_words, inner))
    if get_origin(kind) is Literal:
        return " or ".join(map(str, inner))
    if get_origin(kind) is tuple and inner[-1] is Ellipsis:
        return f"a list, each {in_words(inner[0])}"
    words = {str: "a text", bool: "true or false", int: "a whole number", float: "a number", NoneType: "None"}
    words |= {list: "a list", dict: "a table", tuple: "two numbers", Mapping: "a table"}
    return words.get(get_origin(kind) or kind, f"a {getattr(kind, '__name__', kind)}")


def _part(cls: type, settings: Any, source: str, what: str) -> Any:
    """ASR or noise as a file describes it, wholly: an entry that is not known, or lacks, is damage."""
    known = isinstance(settings, Mapping) and set(settings) <= {entry.name for entry in fields(cls)}
    required = {entry.name for entry in fields(cls) if entry.default is MISSING}
    if not known or not required <= set(settings):
        raise StripeError(f"{source}: its description of {what} ({settings!r}) is damaged")
    refuse_damage(cls, settings, source, what)
    return cls(**settings)


def _numbers(value: Any) -> tuple[float, ...]:
    """One finite number per channel, of grey or colour; empty for anything else."""
    if not isinstance(value, list | tuple) or len(value) not in (1, 3):
        return ()
    return tuple(map(float, value)) if all(fits(x, float) and math.isfinite(x) for x in value) else ()
