import pytest
import torch

from stripe.devices import pick_device
from stripe.errors import StripeError


def test_by_name() -> None:
    assert pick_device("cpu") == torch.device("cpu")


def test_the_best_there_is() -> None:
    assert (pick_device().type == "cpu") == (not torch.accelerator.is_available())


@pytest.mark.parametrize("name", ["abacus", "cuda:99", "meta"])
def test_no_such_device(name: str) -> None:
    with pytest.raises(StripeError, match=f"There is no device '{name}' here"):
        pick_device(name)
