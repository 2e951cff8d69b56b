"""Table 1 of the Stripe Observation paper: what each module adds to ResNet164 for 100 classes."""

import pytest

from stripe.models import build


@pytest.mark.parametrize(
    ("attention", "added"),
    [
        ("se", 202_104),
        ("ie", 16_128),
        ("srm", 32_256),
        ("spa", 2_128_896),
        ("cbam", 198_828),
        ("dia", 218_848),
    ],
)
def test_parameters_that_are_added_to_resnet164(attention: str, added: int) -> None:
    model = build("resnet164", num_classes=100, attention=attention)
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_727_284 + added
