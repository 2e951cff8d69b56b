"""A new attention module is one file, or one decorated class of the user's own."""

import re
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from stripe import asr, bench
from stripe.attention import ATTENTION, Attention, attention, register
from stripe.errors import StripeError
from stripe.models import build
from stripe.registry import registered


@pytest.fixture
def half() -> Iterator[type[Attention]]:
    @register("half")
    class Half(Attention):
        """Learns a number per channel, whatever comes in."""

        def __init__(self, channels: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(channels))

        def gate(self, x: Tensor) -> Tensor:
            return self.activation(x.mean((2, 3)) * self.weight)[:, :, None, None]

    yield Half
    del ATTENTION["half"]


def test_one_of_ones_own_goes_wherever_a_name_is_taken(half: type[Attention]) -> None:
    assert isinstance(attention("half", 8), half)
    assert sum(isinstance(module, half) for module in build("resnet11", attention="half").modules()) == 3
    plain = build("resnet11")
    asr.reparameterize(plain, attention="half")
    assert all((value == 0.5).all() for value in asr.values(plain).values())
    assert bench.Variant.parse("resnet11+half").attention == "half"
    with pytest.raises(StripeError, match=r", half\b.*; did you mean half\?"):
        attention("hafl", 8)


def test_a_name_that_is_taken_is_refused_for_another_class_only(half: type[Attention]) -> None:
    for name in ("se", "half", "none"):
        with pytest.raises(StripeError, match=f"there is an attention module '{name}' already"):
            register(name)(type("Other", (Attention,), {}))
    assert register("half")(half) is half


@pytest.mark.parametrize("name", ["", "SE", "a+b", "a b", "asr(x)", "-a", "a/b", "ä"])
def test_names_that_other_names_could_not_be_made_of_are_refused(name: str) -> None:
    with pytest.raises(StripeError, match=f"{re.escape(repr(name))} cannot be the name of an attention module"):
        register(name)


def test_what_is_no_attention_is_refused() -> None:
    with pytest.raises(StripeError, match=r"no subclass of stripe\.attention\.Attention"):
        register("plain")(nn.Identity)  # type: ignore[type-var]
    assert "plain" not in ATTENTION


def test_the_names_in_the_files_are_those_that_are_registered() -> None:
    ours = [name for name, cls in ATTENTION.items() if cls.__module__.startswith("stripe.attention.")]
    assert registered("stripe.attention") == ours
