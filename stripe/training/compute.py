"""How a network is computed on a device: precision and memory layout."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Self, TypeVar

import torch
from torch import Tensor, nn

from stripe.data import Data
from stripe.devices import pick_device
from stripe.training.recipe import Precision

__all__ = ["Compute", "Precision", "default_precision"]

Images = TypeVar("Images", Tensor, list[Tensor])


@dataclass(frozen=True)
class Compute:
    """A device, and the precision of what runs on it.

    Maps are stored channels-last: on a GPU because tensor cores want it, on a CPU because the 1×1 convolutions that
    bottleneck networks mostly consist of are then plain matrix products (1.4 × the training speed of ResNet29 + SE).

    Attributes:
        device: Where to compute.
        dtype: Precision of convolutions and matrix products; parameters, their gradients and the loss stay float32.
    """

    device: torch.device
    dtype: torch.dtype

    @classmethod
    def on(cls, device: torch.device, precision: Precision | None = None) -> Self:
        """A device with the given precision, or with the one that suits it.

        That is bfloat16 on a GPU that has it, which needs no loss scaling, and float32 elsewhere: of the CPUs only
        those with instructions for bfloat16 gain by it (2.2 × the training speed of ResNet29 + SE), others lose.
        """
        if precision is not None:
            return cls(device, torch.bfloat16 if precision == "bfloat16" else torch.float32)
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return cls(device, torch.bfloat16 if fast else torch.float32)

    def place(self, model: nn.Module) -> nn.Module:
        """Move a model to the device, channels-last, in place."""
        return model.to(self.device).to(memory_format=torch.channels_last)

    def autocast(self) -> AbstractContextManager[object]:
        """The context to run a model in."""
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def input(self, data: Data, images: Images) -> Images:
        """What the network is fed, from a batch of the data set.

        Args:
            data: Knows how its images are normalised.
            images: uint8 (N, 3, H, W), on any device, or a list of images (3, H, W).

        Returns:
            float32 (N, 3, H, W), channels-last, on the device; of a list a list.
        """
        if isinstance(images, list):
            return [self.input(data, image[None])[0] for image in images]
        images = images.to(self.device, non_blocking=True)
        # Rearranged while it is a byte a value.
        return data.normalize(images.contiguous(memory_format=torch.channels_last))


def default_precision(device: str | None = None) -> Precision:
    """What is computed in where nobody asks for a precision, see ``Compute.on``.

    Args:
        device: As for ``stripe.devices.pick_device``.
    """
    return "bfloat16" if Compute.on(pick_device(device)).dtype == torch.bfloat16 else "float32"
