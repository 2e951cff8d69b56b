"""Batch normalisation over the images of all processes.

With statistics of its own images alone, each process would train another network, and the number of processes would
change the result. ``torch.nn.SyncBatchNorm`` does the same on GPUs, by modules that take the place of others; here
whatever calls ``F.batch_norm`` is meant, so that timm's variants, parametrized layers and CPUs are, too.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

__all__ = ["CommonBatchNorm"]


class CommonBatchNorm(TorchFunctionMode):
    """Within, batch normalisation in training takes mean and variance of all processes' images.

    All processes must run the same layers, each on at least one image.

    Args:
        rank: The number of this process.
        size: How many there are.
    """

    def __init__(self, rank: int, size: int) -> None:
        super().__init__()
        self.rank, self.size = rank, size

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Take the place of ``F.batch_norm``."""
        if func is F.batch_norm:
            return self._batch_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _batch_norm(
        self,
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """As ``torch.nn.functional.batch_norm``: (N, C, …) → (N, C, …)."""
        if not training:
            return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
        mean, var, count = self._statistics(x)
        if running_mean is not None and running_var is not None:
            with torch.no_grad():
                running_mean.lerp_(mean.to(running_mean.dtype), momentum)
                running_var.lerp_((var * count / (count - 1)).to(running_var.dtype), momentum)
        factor = (var + eps).rsqrt()
        if weight is not None:
            factor = factor * weight
        offset = -mean * factor
        if bias is not None:
            offset = offset + bias
        shape = (-1, *[1] * (x.ndim - 2))
        return (x * factor.view(shape) + offset.view(shape)).to(x.dtype)

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean (C,), variance (C,) and number of values a channel (), over all processes."""
        axes = [axis for axis in range(x.ndim) if axis != 1]
        values = x.float() if x.dtype in {torch.bfloat16, torch.float16} else x
        var, mean = torch.var_mean(values, axes, correction=0)
        count = mean.new_full((1,), x.numel() // x.shape[1])
        # A table with a row for each process, of which each fills its own: one exchange, and the variances can be put
        # together without the cancellation of E[x²] − E[x]².
        table = mean.new_zeros(self.size, 2 * len(mean) + 1)
        table[self.rank] = torch.cat((mean, var, count))
        means, variances, counts = _Total.apply(table).split((len(mean), len(mean), 1), dim=1)
        total = counts.sum()
        shares = counts / total
        mean = (shares * means).sum(0)
        var = (shares * (variances + (means - mean).square())).sum(0)
        return mean, var, total


class _Total(torch.autograd.Function):
    """The sum over the processes; and so is its gradient, for the losses of all depend on it."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total
