"""What is left of attention that became a constant: one multiplication a channel."""

from torch import Tensor, nn

__all__ = ["ConstantGate"]


class ConstantGate(nn.Module):
    """``y = x ⊙ v`` with a constant v, a number a channel.

    Args:
        value: v, (C,).
        axis: Which axis of the maps holds the channels, counted from the end: -3 of (N, C, H, W), -1 of (N, T, C).
    """

    def __init__(self, value: Tensor, axis: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(value)
        self.axis = axis

    def forward(self, x: Tensor, /) -> Tensor:
        """Maps (N, C, H, W) or tokens (N, T, C), of the same shape."""
        return x * self.weight.view(-1, *[1] * (-1 - self.axis))

    def extra_repr(self) -> str:
        """What ``print`` shows."""
        return f"{self.weight.numel()}, axis={self.axis}"
