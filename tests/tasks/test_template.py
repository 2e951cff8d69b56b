"""What is searched in an attention, told from modules and from how it is written."""

import pytest

from stripe.attention import attention
from stripe.attention.search import MixedAttention
from stripe.tasks.template import template_of


def modules(*names: str) -> list[MixedAttention]:
    return [attention(name, 16) for name in names]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("sscbam", ["sscbam"] * 3),
        ("ssmvam,k=3", ["ssmvam,k=3"] * 3),
        ("sscbam+se", ["sscbam"] * 3),
        ("none/sscbam/se/ssmvam,k=3", ["sscbam", "ssmvam,k=3"]),
        ("sscbam+ssmvam", ["sscbam", "ssmvam"] * 2),
    ],
)
def test_the_text_says_what_is_searched(text: str, names: list[str]) -> None:
    assert template_of(text, modules(*names)) == text


@pytest.mark.parametrize("text", ["none", "se", "sscbam", "sscbam/sscbam"])
def test_a_network_of_ones_own_says_it_itself(text: str) -> None:
    assert template_of(text, modules("sscbam,k=3", "ssmvam")) == "sscbam,k=3/ssmvam"
