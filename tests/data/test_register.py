"""A new data set is one decorated function."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stripe.data import Data, load, register
from stripe.data.registry import _known, names
from stripe.errors import StripeError
from stripe.registry import registered


@pytest.fixture
def given() -> Iterator[dict[str, Any]]:
    """What the function of the data set ``echo`` was given last."""
    seen: dict[str, Any] = {}

    @register("echo:WHAT")
    def load_echo(
        *, name: str, rest: str, root: Path, image_size: Any, seed: int | None, memory_limit: int, download: bool
    ) -> Data:
        seen.update(locals())
        return replace(load("shapes:train=40,test=10"), spec=f"echo:{rest}")

    yield seen
    del _known["echo"]


def test_its_function_is_given_what_load_was_asked_for(given: dict[str, Any], tmp_path: Path) -> None:
    data = load("echo:a:b", root=tmp_path, image_size="48x192", seed=3, memory_limit=7, download=True)
    assert data.spec == "echo:a:b"
    del given["seen"]
    assert given == {
        "name": "echo",
        "rest": "a:b",
        "root": tmp_path,
        "image_size": (48, 192),
        "seed": 3,
        "memory_limit": 7,
        "download": True,
    }


@pytest.mark.parametrize("spec", ["echo", "echo:", "ehco:a"])
def test_the_way_its_name_is_written_is_part_of_messages(given: dict[str, Any], spec: str) -> None:
    with pytest.raises(StripeError, match=r"Use shapes, .*, echo:WHAT"):
        load(spec)


def test_a_setting_that_it_does_not_take_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(StripeError, match="center_bias is a setting of shapes and scenes; echo:a has none"):
        load("echo:a", center_bias=0.5)


def test_a_name_that_is_taken_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(StripeError, match="there is a data set 'echo' already"):
        register("echo")(lambda: load("shapes"))


@pytest.mark.parametrize("usage", ["", "a b", ":x", "coco:", "../x"])
def test_names_that_nobody_could_give_are_refused(usage: str) -> None:
    with pytest.raises(StripeError, match="cannot be the name of a data set"):
        register(usage)


def test_a_function_that_wants_something_else_is_refused() -> None:
    def load_other(*, path: str) -> Data:
        raise AssertionError

    with pytest.raises(StripeError, match=r"'other' wants path; it can be given name, rest, root"):
        register("other")(load_other)


def test_the_names_in_the_files_are_those_that_are_registered() -> None:
    assert registered("stripe.data") == names()
