"""What is refused of an attention's spelling, and what the message says."""

import pytest

from stripe.attention import attention, attention_factory
from stripe.errors import StripeError


@pytest.mark.parametrize(
    ("name", "channels", "message"),
    [
        ("cbam:sa>ca,k=4", 16, r"attention 'cbam:sa>ca,k=4': kernel_size is 4"),
        ("se+cbam,k=4", 16, r"attention 'cbam,k=4' in 'se\+cbam,k=4': kernel_size is 4"),
        ("spsa,heads=3", 4, r"attention 'spsa,heads=3': heads is 3"),
        ("cbam,k=99999", 16, "at most 127"),
        ("eca,k=99", 4, "beyond all 4 channels"),
        ("SE", 16, "did you mean se"),
    ],
)
def test_the_entry_is_named(name: str, channels: int, message: str) -> None:
    with pytest.raises(StripeError, match=message):
        attention(name, channels)


@pytest.mark.parametrize("number", ["٣", "1_1", " 3", "0x3"])
def test_numbers_as_people_write_them(number: str) -> None:
    with pytest.raises(StripeError, match="is not a whole number"):
        attention_factory(f"cbam,k={number}")


def test_a_folder_that_is_not_there() -> None:
    with pytest.raises(StripeError, match="no folder runs/nosuch"):
        attention_factory("runs/nosuch")


def test_a_kernel_as_wide_as_all_channels() -> None:
    assert attention("eca,k=7", 4).conv.kernel_size == (7,)
