"""What building somebody else's model has in common: reserved arguments, and errors in plain words."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from stripe.errors import StripeError

__all__ = ["building", "refuse_arguments"]


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
