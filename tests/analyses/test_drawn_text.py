"""What the notebook on networks of others draws and counts."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn


@pytest.fixture
def text(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "analyses"))
    import drawn_text

    return drawn_text


def test_lines_are_those_of_their_seed(text: ModuleType) -> None:
    first, again, other = (text.draw_lines(3, height=48, width=160, seed=seed) for seed in (1, 1, 2))
    assert first.images.shape == (3, 48, 160)
    np.testing.assert_array_equal(first.images, again.images)
    assert first.texts == again.texts != other.texts
    assert not first.turns.any()


def test_half_of_the_lines_stand_upside_down(text: ModuleType) -> None:
    turns = text.draw_lines(200, height=16, width=40, seed=0, upside_down=0.5).turns
    assert set(turns) == {0, 2}
    assert 70 < (turns == 2).sum() < 130


def test_masks_of_pages_lie_on_their_text(text: ModuleType) -> None:
    pages = text.draw_pages(4, side=128, seed=0)
    for image, mask, lines in zip(pages.images.astype(float), pages.masks, pages.texts, strict=True):
        assert 0 < mask.mean() < 0.3
        assert image[mask].std() > image[~mask].std()  # ink and paper, and elsewhere mostly paper
        assert lines


def test_pages_turn_by_quarters(text: ModuleType) -> None:
    upright = text.draw_pages(20, side=64, seed=0, turned=True)
    assert set(upright.turns) == {0, 1, 2, 3}


def test_images_are_saved_as_they_are(text: ModuleType, tmp_path: Path) -> None:
    lines = text.draw_lines(2, height=16, width=40, seed=0)
    text.save_images(lines, tmp_path / "lines")
    files = sorted((tmp_path / "lines").iterdir())
    assert [each.name for each in files] == ["0000.png", "0001.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(files[1])), lines.images[1])


def test_normalization_is_per_colour(text: ModuleType) -> None:
    values = text.normalized(np.full((1, 2, 2), 255, np.uint8), (0.5, 0.0, 1.0), (0.5, 1.0, 2.0))
    assert values.shape == (1, 3, 2, 2)
    assert values[0, :, 0, 0].tolist() == [1.0, 1.0, 0.0]


def test_decoding_drops_repetitions_and_blanks(text: ModuleType) -> None:
    classes = text.characters("a\nb\n")
    assert classes == ["", "a", "b", " "]
    steps = np.eye(4)[[[1, 1, 0, 1, 2, 3, 2, 2], [0, 0, 0, 0, 0, 0, 0, 0]]]
    assert text.decoded(steps, classes) == ["aab b", ""]


@pytest.mark.parametrize(
    ("read", "written", "number"),
    [("", "", 0), ("abc", "", 3), ("", "ab", 2), ("kitten", "sitting", 3), ("same", "same", 0), ("ab", "ba", 2)],
)
def test_edits_are_those_of_levenshtein(text: ModuleType, read: str, written: str, number: int) -> None:
    assert text.edits(read, written) == number


def test_scores_are_ratios_of_sums_and_compared_in_pairs(text: ModuleType) -> None:
    before = text.Score(np.array([1.0, 0, 3]), np.array([10.0, 10, 20]))
    after = text.Score(before.hits + np.array([1.0, 1, 2]), before.of)
    found = text.compared(before, after)
    assert (found["before"], found["after"], found["change"]) == (10.0, 20.0, 10.0)
    assert found["low"] == found["high"] == pytest.approx(10)  # one more wrong character in ten, in every image
    assert text.as_table({"x": found}).loc["x"].tolist() == ["10.00", "20.00", "+10.00", "+10.00 … +10.00"]


def test_the_interval_is_that_of_the_binomial(text: ModuleType) -> None:
    ones = np.ones(400)
    found = text.compared(text.Score(0 * ones, ones), text.Score((np.arange(400) < 100).astype(float), ones))
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * 100 * np.sqrt(0.25 * 0.75 / 400), rel=0.1)


class Product(nn.Module):
    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return first * second


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.product = Product()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.product(images.mean((2, 3), keepdim=True), images)


def test_gates_are_constant_inside_only(text: ModuleType) -> None:
    images = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    network = Gated()
    usual = network(images)
    with text.constant_gates(network, {"product": torch.tensor([1.0, 2.0, 0.0], dtype=torch.float64)}):
        torch.testing.assert_close(network(images), images * torch.tensor([1.0, 2.0, 0.0]).view(1, 3, 1, 1))
    torch.testing.assert_close(network(images), usual)
