from pathlib import Path

import pytest

from stripe.data import load
from stripe.errors import StripeError


@pytest.mark.parametrize("spec", ["", "mnist", "folder", "folder:", "cifar10:x", "CIFAR10"])
def test_an_unknown_name_is_answered_with_the_known_ones(spec: str) -> None:
    with pytest.raises(StripeError, match="Use shapes, folder:PATH, cifar10, cifar100, stl10, imagenet"):
        load(spec)


def test_a_path_may_hold_a_colon(tmp_path: Path) -> None:
    with pytest.raises(StripeError, match=r"no folder .*a:b"):
        load(f"folder:{tmp_path}/a:b")


def test_center_bias_of_something_else_than_shapes_is_refused() -> None:
    with pytest.raises(StripeError, match="cifar10 has none"):
        load("cifar10", center_bias=0.5)


@pytest.mark.parametrize("options", [{"seed": -1}, {"image_size": 0}, {"image_size": -5}])
def test_numbers_out_of_range_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(StripeError, match="must be"):
        load("shapes", **options)  # type: ignore[arg-type]


def test_the_root_comes_from_the_argument_then_the_environment_then_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STRIPE_DATA", raising=False)
    with pytest.raises(StripeError, match=str(tmp_path / "data" / "cifar")):
        load("cifar10")
    monkeypatch.setenv("STRIPE_DATA", str(tmp_path / "env"))
    with pytest.raises(StripeError, match=str(tmp_path / "env" / "cifar")):
        load("cifar10")
    with pytest.raises(StripeError, match=str(tmp_path / "arg" / "cifar")):
        load("cifar10", root=tmp_path / "arg")


def test_a_folder_is_named_as_one(tmp_path):
    with pytest.raises(StripeError, match=f"did you mean folder:{tmp_path}"):
        load(str(tmp_path))
