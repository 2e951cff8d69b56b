"""Choice among several sets of weights in a checkpoint."""

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from stripe import checkpoint
from stripe.errors import StripeError

ONES = {"conv.weight": torch.ones(2, 2), "bn.bias": torch.ones(2)}
ZEROS = {name: torch.zeros_like(value) for name, value in ONES.items()}


def under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


def taken(tmp_path: Path, content: Any, weights: str | None = None) -> dict[str, Tensor]:
    torch.save(content, tmp_path / "a.pth")
    return checkpoint.read(tmp_path / "a.pth", weights=weights).state_dict


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize(
    "name",
    [
        *("model_ema", "ema_state_dict", "params_ema", "ema", "weights", "module", "student", "teacher", "generator"),
        *("state_dict_ema", "swa_state_dict", "encoder", "anything"),
    ],
)
def test_the_only_weights_are_taken_whatever_their_name(tmp_path: Path, name: str) -> None:
    optimizer = torch.optim.Adam(nn.Linear(2, 2).parameters())
    content = {name: ONES, "epoch": 3, "optimizer": optimizer.state_dict(), "rng": {"cpu": torch.get_rng_state()}}
    assert same(taken(tmp_path, content), ONES)
    assert same(taken(tmp_path, content, name), ONES)


@pytest.mark.parametrize(
    "content",
    [
        {"ema": {"module": ONES}, "decay": 0.9},
        {"model": {"state_dict": ONES}},
        {"callbacks": {"EMACallback": {"ema_state_dict": ONES}, "Best{}": {"best_score": torch.tensor(1.0)}}},
        {"state_dict": ONES, "loss": torch.tensor(0.5), "class_weights": torch.ones(3)},
        {"state_dict": ONES, "scores": {"a/epoch=1.ckpt": torch.tensor(0.5)}, "losses": {"train": torch.ones(3)}},
        {**ONES, "epoch": 3, "name": "x", "args": {"lr": 0.1}, "nothing": None},
        {**ONES, 7: torch.ones(1)},
    ],
)
def test_where_weights_lie(tmp_path: Path, content: Any) -> None:
    assert same(taken(tmp_path, content), ONES)


def test_a_checkpoint_that_holds_itself(tmp_path: Path) -> None:
    content: dict[str, Any] = {"state_dict": ONES}
    content["self"] = content
    assert same(taken(tmp_path, content), ONES)


@pytest.mark.parametrize(
    ("main", "average", "names"),
    [
        ("state_dict", "state_dict_ema", ("ema", "state_dict_ema")),
        ("model", "model_ema", ("ema", "model_ema")),
        ("model", "ema", ("ema",)),
        ("params", "params_ema", ("ema", "params_ema")),
        ("network", "swa_model", ("ema", "swa_model")),
    ],
)
def test_an_average_is_taken_only_where_it_is_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, main: str, average: str, names: tuple[str, ...]
) -> None:
    content = {average: ZEROS, main: ONES}
    assert same(taken(tmp_path, content), ONES)
    assert f"took {main}" in caplog.text
    assert f"weights={average!r}" in caplog.text
    for name in names:
        assert same(taken(tmp_path, content, name), ZEROS)
    assert same(taken(tmp_path, content, main), ONES)


def test_several_networks_are_not_guessed(tmp_path: Path) -> None:
    content = {"student": ONES, "teacher": ZEROS}
    with pytest.raises(
        StripeError, match=r"a\.pth holds the weights of several networks: student, teacher.*weights='student'"
    ):
        taken(tmp_path, content)
    assert checkpoint.find([tmp_path / "a.pth"])
    assert same(taken(tmp_path, content, "teacher"), ZEROS)
    with pytest.raises(StripeError, match=r"no weights called 'ema'; its weights are student, teacher"):
        taken(tmp_path, content, "ema")


def test_a_part_of_the_names(tmp_path: Path) -> None:
    state = {**under("student.backbone.", ONES), **under("teacher.backbone.", ZEROS)}
    assert same(taken(tmp_path, {"state_dict": state}, "teacher"), under("teacher.backbone.", ZEROS))
    safetensors.torch.save_file(state, tmp_path / "a.safetensors")
    found = checkpoint.read(tmp_path / "a.safetensors", weights="student").state_dict
    assert same(found, under("student.backbone.", ONES))
    with pytest.raises(StripeError, match="no weights called 'pupil'"):
        checkpoint.read(tmp_path / "a.safetensors", weights="pupil")


@pytest.mark.parametrize("content", [{"args": {"a": 1}, "state_dict": nn.Linear(2, 2)}, {"model": nn.Linear(2, 2)}])
def test_a_whole_network_where_a_state_dict_should_be(tmp_path: Path, content: Any) -> None:
    with pytest.raises(StripeError, match=r"torch\.nn\.modules\.linear\.Linear.*model\.state_dict\(\)"):
        taken(tmp_path, content)


def test_names_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(StripeError, match=r"names of parameters are text"):
        taken(tmp_path, {0: torch.ones(1), 1: torch.ones(2)})
