"""A list of attention modules, one for each block of a network."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from torch import nn

from stripe.errors import StripeError

__all__ = ["BlockList"]

Make = Callable[[int], nn.Module]


class BlockList:
    """Makes the attention modules of one network, each by the entry of a list, in the order of the forward pass.

    A network with another number of blocks is refused. Inside ``with``, the blocks are counted to the end, so that the
    message says how many there are.

    Args:
        text: The list as it was written; ``none`` is an entry without attention.
        makers: For each block, what makes its module from the number of channels.

    Example:
        >>> from torch import nn
        >>> from stripe.attention import SE
        >>> with BlockList("se/none", [SE, lambda channels: nn.Identity()]) as make:
        ...     print(make(16).kind, make(32))
        channel Identity()
    """

    def __init__(self, text: str, makers: Sequence[Make]) -> None:
        self._text, self._makers = text, tuple(makers)
        self._made, self._counting = 0, False

    def __call__(self, channels: int) -> nn.Module:
        """The module of the next block.

        Raises:
            StripeError: The list has no further entry.
        """
        self._made += 1
        if self._made <= len(self._makers):
            return self._makers[self._made - 1](channels)
        if self._counting:
            return nn.Identity()
        raise self._mismatch(f"at least {self._made}")

    def of_places(self, count: int) -> list[Make]:
        """For each place of ASR, what makes its attention.

        Args:
            count: How many places there are.

        Raises:
            StripeError: The list has another number of entries, or an entry without attention.
        """
        if count != len(self._makers):
            raise self._mismatch(str(count))
        if "none" in self._text.split("/"):
            raise StripeError(f"attention={self._text!r}: every place of ASR needs an attention; leave out by where=")
        return list(self._makers)

    def __enter__(self) -> Self:
        self._counting = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._counting = False
        if kind is None and self._made != len(self._makers):
            raise self._mismatch(str(self._made))

    def _mismatch(self, blocks: str) -> StripeError:
        return StripeError(
            f"attention={self._text!r} is a list of {len(self._makers)}, one for each block, but the network has "
            f"{blocks} blocks with a place for attention"
        )
