"""Several processes, on one machine or many, that train one network together; started by ``torchrun``."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from stripe.data.base import IntArray
from stripe.devices import pick_device
from stripe.errors import StripeError
from stripe.training.batchnorm import CommonBatchNorm

__all__ = ["World", "join"]

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """The processes, and which of them this is. One process alone is a world, too.

    Attributes:
        device: Where this process computes.
        rank: The number of this process, from 0. What is written is written by number 0.
        size: How many there are.
    """

    device: torch.device
    rank: int = 0
    size: int = 1

    def parts(self, count: int, accumulate: int) -> list[slice]:
        """Which images of a batch this process computes, part by part.

        Args:
            count: Images in the batch.
            accumulate: In how many parts it is computed, one after the other; fewer, where a part of a process would
                be without an image or a part be a single one, whose batch statistics say nothing.

        Returns:
            Positions in the batch for each part; none at all where there are fewer images than processes.
        """
        if count < self.size:
            return []
        parts = max(1, min(accumulate, count // max(2, self.size)))
        shares = [np.array_split(part, self.size)[self.rank] for part in np.array_split(np.arange(count), parts)]
        return [slice(int(share[0]), int(share[-1]) + 1) for share in shares]

    def share(self, count: int, accumulate: int) -> IntArray:
        """All images of a batch that this process computes, positions, int64; see ``parts``."""
        # Of a batch that is too small one image, for a loader yields no batch without any.
        return np.concatenate([np.arange(count)[part] for part in self.parts(count, accumulate) or [slice(1)]])

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and talks to people."""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """The sum over the processes of a CPU tensor that each has, of equal shape; on the CPU."""
        if self.size == 1:
            return values
        moved = values.to(self.device)
        dist.all_reduce(moved)
        return moved.cpu()

    def told(self, value: T) -> T:
        """What the first process says; the others' own value is ignored."""
        if self.size == 1:
            return value
        said = [value]
        dist.broadcast_object_list(said)
        return said[0]

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """The first process goes through alone, and then all others: for what is downloaded once."""
        if not self.leads:
            dist.barrier()
        yield
        if self.leads and self.size > 1:
            dist.barrier()

    def parallel(self, model: nn.Module) -> nn.Module:
        """The model as it is to be trained: its gradients are the means over the processes, its first weights equal."""
        return model if self.size == 1 else DistributedDataParallel(model)

    @contextmanager
    def step(self, model: nn.Module, last: bool) -> Iterator[None]:
        """Around a forward and backward pass.

        Args:
            model: What ``parallel`` gave.
            last: Whether it is the last one before the optimiser's step; gradients are exchanged in that one alone.
        """
        with ExitStack() as stack:
            if self.size > 1:
                stack.enter_context(CommonBatchNorm(self.rank, self.size))
            if isinstance(model, DistributedDataParallel) and not last:
                stack.enter_context(model.no_sync())
            yield


@contextmanager
def join(device: str | None = None) -> Iterator[World]:
    """Join the processes that ``torchrun`` started together with this one, until the end of the block.

    A process that was not started by it is a world of its own. One that has joined already, here or by
    ``torch.distributed.init_process_group``, stays joined.

    Args:
        device: As for ``stripe.devices.pick_device``. On a machine with several GPUs each process takes its own.

    Raises:
        StripeError: There is no such device, or there are more processes than GPUs.
    """
    picked = pick_device(device)
    if dist.is_available() and dist.is_initialized():
        yield World(picked, dist.get_rank(), dist.get_world_size())
        return
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or not dist.is_torchelastic_launched():
        yield World(picked)
        return
    if picked.type == "cuda":
        local, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= gpus:
            raise StripeError(f"torchrun started more processes than there are GPUs here: {gpus}; say --nproc-per-node")
        torch.cuda.set_device(local)  # from now on the one that "cuda" means
    dist.init_process_group("nccl" if picked.type == "cuda" else "gloo")
    try:
        yield World(picked, dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
