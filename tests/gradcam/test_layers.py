import pytest
import torch
from torch import Tensor, nn

from stripe.errors import StripeError
from stripe.gradcam import find_layer
from stripe.gradcam.grid import Grid, grid_of


@pytest.mark.parametrize(
    ("shape", "size", "prefix", "expected"),
    [
        ((2, 8, 7, 7), (224, 224), None, Grid("NCHW", 7, 7)),
        ((2, 7, 7, 8), (224, 224), None, Grid("NHWC", 7, 7)),
        ((2, 7, 7, 7), (224, 224), None, Grid("NCHW", 7, 7)),  # cannot be told apart: the usual one
        ((2, 7, 7, 8), (196, 224), None, Grid("NCHW", 7, 8)),
        ((2, 197, 64), (224, 224), None, Grid("NTC", 14, 14, 1)),
        ((2, 201, 64), (224, 224), 5, Grid("NTC", 14, 14, 5)),
        ((2, 196, 64), (224, 224), 0, Grid("NTC", 14, 14, 0)),
        ((2, 9, 64), (32, 32), 5, Grid("NTC", 2, 2, 5)),  # 3 × 3 without a prefix, but the model says 5
        ((2, 141, 64), (224, 160), None, Grid("NTC", 14, 10, 1)),
        ((2, 3, 197, 64), (224, 224), None, None),  # heads × tokens × width
        ((2, 8, 1, 1), (224, 224), None, None),
        ((2, 1, 64), (224, 224), None, None),
        ((2, 64), (224, 224), None, None),
        ((2, 8, 4, 7, 7), (224, 224), None, None),
    ],
)
def test_how_an_output_lies_over_the_image(shape, size, prefix, expected) -> None:
    assert grid_of(shape, size, prefix) == expected


def test_tokens_are_laid_out_row_by_row_without_the_prefix() -> None:
    tokens = torch.arange(7.0).reshape(1, 7, 1)
    torch.testing.assert_close(Grid("NTC", 2, 3, 1)(tokens), torch.tensor([[[[1.0, 2, 3], [4, 5, 6]]]]))


def test_channels_last_become_channels_first() -> None:
    values = torch.rand(2, 3, 4, 5)
    torch.testing.assert_close(Grid("NHWC", 3, 4)(values), values.permute(0, 3, 1, 2))


def test_the_last_stage(cnn: nn.Module, batch: Tensor) -> None:
    """The ReLU after it has learned nothing."""
    assert find_layer(cnn, batch) == "stage2"


def test_side_branches_don_t_count(cnn: nn.Module, batch: Tensor) -> None:
    """Something with positions runs last, but the scores don't depend on it."""
    cnn.auxiliary = nn.Conv2d(8, 3, 1)
    original = cnn.drop.forward
    cnn.drop.forward = lambda x: (cnn.auxiliary(x[:, :, None, None].expand(-1, -1, 4, 4)), original(x))[1]
    assert find_layer(cnn, batch) == "stage2"


class Normalising(nn.Sequential):
    """Changes its input in place, as some networks do."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = super().forward(x.sub_(0.5))
        return out


def test_input_changed_in_place(cnn: nn.Module, batch: Tensor) -> None:
    before = batch.clone()
    assert find_layer(Normalising(cnn), batch) == "0.stage2"
    assert torch.equal(batch, before)


def test_no_positions_left() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    with pytest.raises(StripeError, match=r"No layer of Sequential gives a map .*layer=.* The model has: 0, 1\."):
        find_layer(flat, torch.rand(2, 3, 4, 4))


def test_an_untrained_classifier_of_zeros(cnn: nn.Module, batch: Tensor) -> None:
    nn.init.zeros_(cnn.fc.weight)
    with pytest.raises(StripeError, match=r"no gradient at any layer.* weights are zero.*layer=.*stage1\.0, .*stage2"):
        find_layer(cnn, batch)
