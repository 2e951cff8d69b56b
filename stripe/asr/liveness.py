"""Whether an ASR can learn as it begins.

SE, SPA and CBAM's channel half have a hidden layer of h = max(1, round(C / r)) ReLUs. On maps some unit is on for some
image; on the constant ψ a unit is on or off for good. Row w and bias b of a unit are drawn from distributions symmetric
around 0, and so is what the unit takes, w·ψ + b: it is off with probability 1/2. Where all are off, which has the
probability 2^−h, v is σ of the last bias: ψ and all other parameters get no gradient, and weight decay aside nothing
will ever change that. (r = 16: 1/2 for 16 channels, 1/4 for 32, 1/16 for 64, 1/256 for 128. A single unit that is off
may wake when others move ψ.)
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from stripe.asr.value import ASR
from stripe.attention import DIA

__all__ = ["is_dead", "redraw"]

DRAWS = 100
"""After so many without success it is no bad luck: half of them succeed where it is hardest."""


def is_dead(asr: ASR) -> bool:
    """Whether ψ gets no gradient, neither now nor after κ has made a step along its own.

    (The step is for modules that begin at 0, as IE and SRM: there ψ begins without a gradient, but the weights have
    one, and once they moved, so has ψ.) Nothing is drawn, and nothing changed. Of tensors without data, or in inference
    mode, it cannot be said: False.
    """
    if any(
        tensor.is_meta or tensor.is_inference() or isinstance(tensor, FakeTensor)
        for tensor in (asr.psi, *asr.attention.parameters())
    ):
        return False
    with torch.inference_mode(False), torch.enable_grad():
        of_psi, *of_theta = _gradients(asr)
        if _any(of_psi):
            return False
        parameters = list(asr.attention.parameters())
        before = [parameter.detach().clone() for parameter in parameters]
        try:
            with torch.no_grad():
                for parameter, gradient in zip(parameters, of_theta, strict=True):
                    if gradient is not None:
                        parameter.add_(gradient)
            return not _any(_gradients(asr)[0])
        finally:
            with torch.no_grad():
                for parameter, value in zip(parameters, before, strict=True):
                    parameter.copy_(value)


def redraw(asr: ASR, factory: Callable[[int], nn.Module], prepare: Callable[[nn.Module], None]) -> None:
    """Draw θ anew until the ASR is not dead, from torch's global generator.

    Args:
        asr: A dead one.
        factory: Makes κ from the number of channels.
        prepare: What is done to a κ that was made.
    """
    for _ in range(DRAWS):
        # One of DIA is made alone: in the stage that the factory continues it would have no LSTM of its own.
        fresh = DIA(len(asr.psi)) if isinstance(asr.attention, DIA) else factory(len(asr.psi))
        prepare(fresh)
        with torch.no_grad():
            for parameter, drawn in zip(asr.attention.parameters(), fresh.parameters(), strict=False):
                parameter.copy_(drawn)
        if not is_dead(asr):
            return


def _gradients(asr: ASR) -> list[Tensor | None]:
    """Of Σ v: with respect to ψ, then to the parameters of κ; None for those that it does not depend on."""
    learnable = asr.psi.requires_grad
    asr.psi.requires_grad_(True)
    parameters = list(asr.attention.parameters())
    asked = [asr.psi, *(parameter for parameter in parameters if parameter.requires_grad)]
    try:
        total = asr.anew().sum()
        found = torch.autograd.grad(total, asked, allow_unused=True) if total.requires_grad else [None] * len(asked)
    finally:
        asr.psi.requires_grad_(learnable)
    of = {id(tensor): gradient for tensor, gradient in zip(asked, found, strict=True)}
    return [of.get(id(tensor)) for tensor in (asr.psi, *parameters)]


def _any(gradient: Tensor | None) -> bool:
    return gradient is not None and bool(gradient.any())
