"""Data and recipes so small that an epoch takes a fraction of a second."""

from dataclasses import replace

import pytest

from stripe.data import Data, load
from stripe.training import RESNET, Recipe


@pytest.fixture(scope="session")
def tiny_data() -> Data:
    return load("shapes:train=20,test=12", image_size=16)


@pytest.fixture(scope="session")
def tiny_recipe() -> Recipe:
    """Three epochs of two steps, the rate dropping before the third (round(122 · 3 / 164) = 2)."""
    return replace(RESNET, batch_size=10).scaled(3)
