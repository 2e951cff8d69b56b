"""Making the ASR of the places of a network."""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from stripe.asr.liveness import is_dead, redraw
from stripe.asr.targets import Group, Target
from stripe.asr.value import ASR, ChainedASR
from stripe.attention import DIA
from stripe.errors import StripeError

__all__ = ["Start", "make_asr"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """How an ASR begins.

    Attributes:
        psi: ψ's first value: a number, ``"C0.1"`` (that number) or ``"N0.3"`` (normal, standard deviation 0.3).
        learnable: Whether ψ is a parameter.
        activation: σ; None: κ's own.
        init: What all parameters of κ are set to; None: κ's own initialisation.
        kind: ``"paper"``: where ψ gets no gradient, that is said; ``"alive"``: θ is drawn again; None: nobody looks.
    """

    psi: float | str
    learnable: bool
    activation: Callable[[Tensor], Tensor] | None
    init: float | None
    kind: Literal["paper", "alive"] | None


def make_asr(groups: Sequence[Group], factory: Callable[[int], nn.Module], start: Start) -> list[ASR]:
    """One ASR for each group of layers, on their device and of their type.

    Args:
        groups: In the order of the forward pass.
        factory: Makes κ from the number of channels.
        start: How each begins.

    Raises:
        StripeError: κ has no value for a constant.
    """
    made: list[ASR] = []
    for group in groups:
        first = group[0]
        weight = first.layer.weight
        assert isinstance(weight, Tensor)
        attention = factory(first.channels).to(weight.device, weight.dtype)
        _prepare(attention, start)
        psi = _first_psi(start.psi, first.channels).to(weight.device, weight.dtype)
        if isinstance(attention, DIA):
            before = made[-1] if made else None
            after = before if isinstance(before, ChainedASR) and before.attention is attention.after else None
            made.append(ChainedASR(attention, psi, start.learnable, after))
        else:
            made.append(ASR(attention, psi, start.learnable))
        _check_value(made[-1], first)
    if start.kind:
        _wake(made, factory, start)
    return made


def _wake(made: list[ASR], factory: Callable[[int], nn.Module], start: Start) -> None:
    """Draw those that cannot learn again, after all others, which so begin as without it; or say how many there are."""
    dead = [asr for asr in made if is_dead(asr)]
    if dead and start.kind == "alive":
        for asr in dead:
            redraw(asr, factory, partial(_prepare, start=start))
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
    except Exception as error:  # the module may be the user's: anything may come out of it
        raise StripeError(f"{kind} cannot be used for ASR: of a map of one pixel its gate fails ({error})") from error
    if value.shape != (target.channels,):
        raise StripeError(
            f"{kind} cannot be used for ASR: of a map of one pixel and {target.channels} channels it gives "
            f"{value.numel()} values, not one a channel"
        )


def _first_psi(psi: float | str, channels: int) -> Tensor:
    """ψ's first value, (C,), see `Start`."""
    if not isinstance(psi, str):
        return torch.full((channels,), float(psi))
    said = re.fullmatch(r"([CN])(\d*\.?\d+(?:e-?\d+)?)", psi)
    if said is None:
        raise StripeError(f"psi is {psi!r}; it is a number, C and a number, or N and a standard deviation, as N0.3")
    number = float(said[2])
    return torch.full((channels,), number) if said[1] == "C" else torch.randn(channels) * number
