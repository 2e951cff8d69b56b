"""Operators of ONNX that torch has no module for, or onnx2torch none that does them right."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["REDUCTIONS", "GlobalMaxPool", "Pad", "Reduction", "SamePad", "Slice", "SpaceToDepth", "Split"]


class GlobalMaxPool(nn.Module):
    """``GlobalMaxPool``: the largest number of each channel."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, …)."""
        return x.amax(tuple(range(2, x.ndim)), keepdim=True)


class Pad(nn.Module):
    """``Pad``.

    Args:
        mode: How, as torch names it: ``constant``, ``reflect`` or ``replicate``.
        value: What with, where it is a constant.
        axes: Along which axes; None: all of them.
    """

    def __init__(self, mode: str, value: float, axes: list[int] | None) -> None:
        super().__init__()
        self.mode, self.value, self.axes = mode, value, axes

    def forward(self, x: Tensor, pads: Tensor) -> Tensor:
        """Tensors of any shape; how much before each axis, then how much behind each."""
        numbers = pads.tolist()
        axes = range(x.ndim) if self.axes is None else [axis % x.ndim for axis in self.axes]
        around = dict(zip(axes, zip(numbers[: len(axes)], numbers[len(axes) :], strict=True), strict=True))
        if self.mode == "constant":
            first = min((axis for axis, sides in around.items() if any(sides)), default=x.ndim)
        else:  # torch wants all axes but those of images and channels
            first = 2
        torchs = [side for axis in reversed(range(first, x.ndim)) for side in around.get(axis, (0, 0))]
        return F.pad(x, torchs, self.mode, self.value if self.mode == "constant" else None) if any(torchs) else x


REDUCTIONS: dict[str, Callable[[Tensor, list[int], bool], Tensor]] = {
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keep),
    "ReduceL2": lambda x, axes, keep: x.square().sum(axes, keep).sqrt(),
    "ReduceLogSum": lambda x, axes, keep: x.sum(axes, keep).log(),
    "ReduceLogSumExp": lambda x, axes, keep: x.logsumexp(axes, keep),
    "ReduceMax": lambda x, axes, keep: x.amax(axes, keep),
    "ReduceMean": lambda x, axes, keep: x.mean(axes, keep),
    "ReduceMin": lambda x, axes, keep: x.amin(axes, keep),
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keep),
    "ReduceSumSquare": lambda x, axes, keep: x.square().sum(axes, keep),
}
"""Operator → what it computes of a tensor, some axes, and whether they stay."""


class Reduction(nn.Module):
    """``ReduceMean`` and the like. Those of onnx2torch do not count axes from the end, where these are taken away.

    Args:
        operator: The operator.
        axes: The axes, all where they are None or none.
        keepdims: Whether they stay, of size 1.
    """

    def __init__(self, operator: str, axes: list[int] | None, keepdims: bool) -> None:
        super().__init__()
        self.operator, self.axes, self.keepdims = operator, axes, keepdims

    def forward(self, x: Tensor) -> Tensor:
        """Tensors of any shape."""
        axes = sorted(axis % x.ndim for axis in self.axes or range(x.ndim))
        if self.operator == "ReduceProd":
            for axis in reversed(axes):
                x = x.prod(axis, self.keepdims)
            return x
        return REDUCTIONS[self.operator](x, axes, self.keepdims)


class SamePad(nn.Module):
    """The padding of ``auto_pad=SAME_UPPER`` and ``SAME_LOWER``, for images of any size: outputs have ⌈size / stride⌉.

    Args:
        kernel: The size of the kernel, one number per axis.
        stride: The strides.
        dilation: The dilations.
        lower: Whether the odd row is added before the map (``SAME_LOWER``) and not behind it.
        value: What the map is padded with.
    """

    def __init__(
        self, kernel: list[int], stride: list[int], dilation: list[int], *, lower: bool, value: float = 0.0
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.dilation = kernel, stride, dilation
        self.lower, self.value = lower, value

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, …), padded."""
        pads: list[int] = []
        for size, kernel, stride, dilation in zip(x.shape[2:], self.kernel, self.stride, self.dilation, strict=True):
            total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
            small, large = total // 2, total - total // 2
            pads = [*((large, small) if self.lower else (small, large)), *pads]
        return F.pad(x, pads, value=self.value) if any(pads) else x


class Slice(nn.Module):
    """The operator of that name. That of onnx2torch indexes with lists, which torch is about to read in another way."""

    def forward(
        self, x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None
    ) -> Tensor:
        """As ONNX defines it: along ``axes`` (all, from the first, where they are not given) from starts to ends."""
        numbers = range(len(starts)) if axes is None else axes.tolist()
        strides = [1] * len(starts) if steps is None else steps.tolist()
        for axis, start, end, step in zip(numbers, starts.tolist(), ends.tolist(), strides, strict=True):
            axis %= x.ndim
            if step < 0:
                kept = range(*slice(start, end, step).indices(x.shape[axis]))
                x = x.index_select(axis, torch.tensor(list(kept), dtype=torch.int64, device=x.device))
            else:
                low, high, _ = slice(start, end, step).indices(x.shape[axis])  # exporters write 2⁶³ − 1 for the end
                x = x[(slice(None),) * axis + (slice(low, high, step),)]
        return x


class SpaceToDepth(nn.Module):
    """``SpaceToDepth``: pixels of a block are counted before channels, unlike in ``pixel_unshuffle``."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W)."""
        n, channels, height, width = x.shape
        blocks = x.reshape(n, channels, height // self.side, self.side, width // self.side, self.side)
        return blocks.permute(0, 3, 5, 1, 2, 4).reshape(n, -1, height // self.side, width // self.side)


class Split(nn.Module):
    """``Split``.

    Args:
        sizes: Of the parts; None: equal ones, the last perhaps smaller.
        parts: How many there are.
        axis: Along which axis.
    """

    def __init__(self, sizes: list[int] | None, parts: int, axis: int) -> None:
        super().__init__()
        self.sizes, self.parts, self.axis = sizes, parts, axis

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Tensors of any shape."""
        each = self.sizes or -(-x.shape[self.axis] // self.parts)  # the last part may be smaller
        return torch.split(x, each, self.axis)
