"""Initialization of ASR: ψ and θ are drawn; if they cannot learn, there is a warning, or they are drawn again.

SE, SPA and CBAM's channel half have a hidden layer of h = max(1, round(C / r)) ReLUs. On maps, some unit is active for
some image; on the constant ψ, a unit is always active or never. Row w and bias b of a unit are drawn from distributions
symmetric around 0, and so is its input w·ψ + b: the unit is inactive with probability 1/2. If all units are inactive,
which has the probability 2^−h, v is σ of the last bias: ψ and all other parameters get no gradient, and apart from
weight decay nothing ever changes that. (For r = 16 the probability is 1/2 for 16 channels, 1/4 for 32, 1/16 for 64,
1/256 for 128. A single inactive unit may become active when others change ψ.)
"""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from stripe.asr.layers import Group, Target
from stripe.asr.value import ASR, ChainedASR
from stripe.attention import BlockList, ChainedAttention
from stripe.errors import StripeError

__all__ = ["Start", "is_dead", "make_asr", "redraw"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """Initial state of an ASR.

    Attributes:
        psi: Initial value of ψ: a number, ``"C0.1"`` (that number) or ``"N0.3"`` (normal, standard deviation 0.3).
        learnable: Whether ψ is a parameter.
        activation: Activation σ; None stands for that of κ.
        init: Number that all parameters of κ are set to; None stands for the initialisation of κ.
        kind: What happens if ψ gets no gradient: ``"paper"`` warns, ``"alive"`` draws θ again, None does not check.
    """

    psi: float | str
    learnable: bool
    activation: Callable[[Tensor], Tensor] | None
    init: float | None
    kind: Literal["paper", "alive"] | None


def make_asr(groups: Sequence[Group], factory: Callable[[int], nn.Module], start: Start) -> list[ASR]:
    """Make one ASR for each group of layers, on their device and of their data type.

    Args:
        groups: Groups of layers, in the order of the forward pass.
        factory: Function that makes κ from the number of channels, or a list with one for each group.
        start: Initial state of each ASR.

    Raises:
        StripeError: κ has no value for a constant.
    """
    made: list[ASR] = []
    makers = factory.of_places(len(groups)) if isinstance(factory, BlockList) else [factory] * len(groups)
    for make, group in zip(makers, groups, strict=True):
        first = group[0]
        weight = first.layer.weight
        assert isinstance(weight, Tensor)
        attention = make(first.channels).to(weight.device, weight.dtype)
        _prepare(attention, start)
        psi = _first_psi(start.psi, first.channels).to(weight.device, weight.dtype)
        if isinstance(attention, ChainedAttention):
            chain = [asr for asr in made if isinstance(asr, ChainedASR) and asr.attention is attention.after]
            made.append(ChainedASR(attention, psi, start.learnable, chain[0] if chain else None))
        else:
            made.append(ASR(attention, psi, start.learnable))
        _check_value(made[-1], first)
    if start.kind:
        _wake(made, makers, start)
    return made


def _wake(made: list[ASR], makers: Sequence[Callable[[int], nn.Module]], start: Start) -> None:
    """Draw those ASR again that cannot learn, or warn of them; the others are as if none were drawn again."""
    dead = [asr for asr in made if is_dead(asr)]
    if dead and start.kind == "alive":
        for asr, make in zip(made, makers, strict=True):
            if asr in dead:
                redraw(asr, make, partial(_prepare, start=start))
        logger.info("drew %d of %d attention modules again, which could not have learned", len(dead), len(made))
        dead = [asr for asr in made if is_dead(asr)]
    if dead:
        remedy = "other draws don't help: give another psi or init" if start.kind == "alive" else "start='alive' helps"
        logger.warning(
            "%d of %d attention values cannot learn: no hidden unit of their %s is on for ψ, so ψ gets no gradient; %s",
            *(len(dead), len(made), type(dead[0].attention).__name__, remedy),
        )


def _prepare(attention: nn.Module, start: Start) -> None:
    kind = type(attention).__name__
    if not callable(getattr(attention, "gate", None)):
        raise StripeError(f"{kind} cannot be used for ASR: it has no method gate(x) that gives its attention value")
    if start.activation is not None:
        if not hasattr(attention, "activation"):
            raise StripeError(f"{kind} has no attribute 'activation' that could be set to another function")
        attention.activation = start.activation  # type: ignore[assignment]
    if start.init is not None:
        for parameter in attention.parameters():
            nn.init.constant_(parameter, start.init)


def _check_value(asr: ASR, target: Target) -> None:
    kind = type(asr.attention).__name__
    try:
        with torch.no_grad():
            value = asr.value()
    except StripeError:
        raise
    except Exception as error:  # the module may be the user's, and raise anything
        raise StripeError(f"{kind} cannot be used for ASR: of a map of one pixel its gate fails ({error})") from error
    if value.shape != (target.channels,):
        raise StripeError(
            f"{kind} cannot be used for ASR: of a map of one pixel and {target.channels} channels it gives "
            f"{value.numel()} values, not one a channel"
        )


def _first_psi(psi: float | str, channels: int) -> Tensor:
    """The initial value of ψ, of shape (C,); see ``Start``."""
    if not isinstance(psi, str):
        return torch.full((channels,), float(psi))
    said = re.fullmatch(r"([CN])(\d*\.?\d+(?:e-?\d+)?)", psi)
    if said is None:
        raise StripeError(f"psi is {psi!r}; it is a number, C and a number, or N and a standard deviation, as N0.3")
    number = float(said[2])
    return torch.full((channels,), number) if said[1] == "C" else torch.randn(channels) * number


DRAWS = 100
"""Number of draws after which to give up; even in the hardest case each succeeds with probability 1/2."""


def is_dead(asr: ASR) -> bool:
    """Whether ψ gets no gradient, neither now nor after one step of κ along its own gradient.

    (In modules whose parameters start at 0, such as IE and SRM, ψ has no gradient at first, but the parameters have
    one; after their first step ψ has one, too.) No numbers are drawn, and the ASR is not changed. The result is False
    for tensors without data and in inference mode, where it cannot be computed.
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
    """Draw θ from torch's global generator until the ASR is not dead.

    Args:
        asr: A dead ASR.
        factory: Function that makes κ from the number of channels.
        prepare: Function that is applied to each κ after it was made.
    """
    for _ in range(DRAWS):
        # A κ of a chain is made by itself: in the stage of the factory it would have no parameters of its own.
        make = asr.attention.factory() if isinstance(asr.attention, ChainedAttention) else factory
        fresh = make(len(asr.psi))
        prepare(fresh)
        with torch.no_grad():
            for parameter, drawn in zip(asr.attention.parameters(), fresh.parameters(), strict=False):
                parameter.copy_(drawn)
        if not is_dead(asr):
            return


def _gradients(asr: ASR) -> list[Tensor | None]:
    """The gradients of Σ v with respect to ψ and the parameters of κ; None for those that it does not depend on."""
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
