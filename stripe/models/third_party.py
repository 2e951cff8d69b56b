"""What building somebody else's model has in common: reserved arguments, and errors in plain words."""

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar, get_type_hints

from stripe.errors import StripeError
from stripe.models.spec import fits, in_words, out_of_range
from stripe.names import did_you_mean

__all__ = ["building", "chosen", "refuse_arguments", "refuse_unknown"]

Options = TypeVar("Options")


def chosen(spec: str, default: Options, args: Mapping[str, Any]) -> tuple[Options, dict[str, Any]]:
    """The options among a model's arguments, and the other arguments.

    Args:
        spec: The model, for messages.
        default: A dataclass's object.
        args: The arguments of the model, as JSON gives them.

    Raises:
        StripeError: An option is of another type, or out of its range.
    """
    kinds = get_type_hints(type(default))
    given = {key: value for key, value in args.items() if key in kinds}
    for key, value in given.items():
        if not fits(value, kinds[key]):
            raise StripeError(f"{spec}: the argument {key}= is {value!r}, and must be {in_words(kinds[key])}")
    options = replace(default, **given)  # type: ignore[type-var]
    for key, permitted in out_of_range(options).items():
        raise StripeError(f"{spec}: the argument {key}= is {getattr(options, key)}, and must be {permitted}")
    return options, {key: value for key, value in args.items() if key not in given}


def refuse_arguments(spec: str, args: Mapping[str, Any], reserved: Collection[str]) -> None:
    """Refuse constructor arguments for which there is an option of its own.

    They are not a mere second way: a checkpoint's record of its arguments must not be able to load files.

    Raises:
        StripeError: ``args`` holds one of them.
    """
    for name in reserved:
        if name in args:
            raise StripeError(
                f"{spec}: the argument {name!r} is set through num_classes=, pretrained= or a checkpoint, "
                "not as a further argument of the model"
            )


def refuse_unknown(spec: str, args: Collection[str], makers: Collection[Callable[..., Any]]) -> None:
    """Refuse arguments that nothing takes; torchvision's detectors hand them on, and the last one drops them.

    Args:
        spec: The model, for messages.
        args: The names of the arguments.
        makers: The functions and classes that the arguments may be meant for.

    Raises:
        StripeError: No maker has an argument of one of these names.
    """
    known = {name for maker in makers for name in inspect.signature(maker).parameters if name[0] != "_"}
    for name in args:
        if name not in known:
            raise StripeError(f"{spec} does not take the argument {name!r}{did_you_mean(name, sorted(known))}")


@contextmanager
def building(spec: str, pretrained: bool = False) -> Iterator[None]:
    """Turn whatever a foreign constructor or its download raises into one sentence."""
    try:
        yield
    except StripeError:
        raise
    except TypeError as error:
        raise StripeError(f"{spec} does not take these arguments: {error}") from error
    except Exception as error:  # the code is not ours: anything may come out of it
        reason = f"{type(error).__name__}: {_first_line(error)}"
        if pretrained:
            raise StripeError(
                f"{spec}: the download of the published weights failed ({reason}); without pretrained=True the "
                "network is built with random weights, into which those of a checkpoint can be loaded"
            ) from error
        raise StripeError(f"{spec} could not be built ({reason})") from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "no reason given"
