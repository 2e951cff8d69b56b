import sys
from pathlib import Path

import pytest
import torch

from stripe.errors import StripeError
from stripe.models import build

CODE = """
from torch import nn

def plain(width=4, num_classes=10):
    return nn.Sequential(nn.Flatten(), nn.Linear(12, width), nn.Linear(width, num_classes))

def fixed():
    return nn.Linear(12, 5)

def needs(width):
    return nn.Linear(12, width)

def weights(pretrained=False):
    return nn.Linear(12, 2 if pretrained else 3)

class Net(nn.Linear):
    def __init__(self, num_classes):
        super().__init__(12, num_classes)

def fails():
    return 1 / 0

def wrong():
    return "a model"

nothing = None
number = 3
"""


@pytest.fixture(autouse=True)
def user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a user with a package; a name of its own, since modules stay imported."""
    package = tmp_path / "user_code_of_a_test"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "nets.py").write_text(CODE)
    (package / "broken.py").write_text("x = 1\nraise RuntimeError('half written')\n")
    (package / "needy.py").write_text("import a_module_that_nobody_has\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # restores sys.path afterwards
    for name in [name for name in sys.modules if name.startswith("user_code_of_a_test")]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


def outputs(factory: str, **kwargs: object) -> int:
    model = build(f"python:user_code_of_a_test.nets:{factory}", **kwargs)  # type: ignore[arg-type]
    return int(list(model.parameters())[-1].shape[0])


def test_number_of_classes_goes_to_those_who_take_it() -> None:
    assert outputs("plain") == 10
    assert outputs("plain", num_classes=3) == 3
    assert outputs("Net", num_classes=3) == 3
    assert outputs("fixed", num_classes=3) == 5
    assert outputs("plain", num_classes=3, args={"num_classes": 4, "width": 2}) == 4


def test_pretrained_goes_to_those_who_take_it() -> None:
    assert outputs("weights") == 3
    assert outputs("weights", pretrained=True) == 2
    with pytest.raises(StripeError, match="no argument 'pretrained'"):
        outputs("fixed", pretrained=True)


def test_the_current_folder_is_importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "nets_of_elsewhere.py").write_text(CODE)
    monkeypatch.chdir(elsewhere)
    assert isinstance(build("python:nets_of_elsewhere:fixed"), torch.nn.Linear)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nets", "not of the form python:package.module:factory"),
        (":nets", "not of the form"),
        ("no_such_package_at_all.nets:plain", "no module 'no_such_package_at_all'.*current folder"),
        ("user_code_of_a_test.nots:plain", "no module 'user_code_of_a_test.nots'"),
        ("user_code_of_a_test.nets:plane", r"no 'plane' in .*nets.py; did you mean plain\?"),
        ("user_code_of_a_test.nets:number", "is of type int; a function or class"),
        ("user_code_of_a_test.nets:wrong", "returned str, not a torch.nn.Module"),
        ("user_code_of_a_test.nets:fails", r"ZeroDivisionError: division by zero \(.*nets.py, line \d+\)"),
        ("user_code_of_a_test.nets:needs", "does not take these arguments: missing a required argument: 'width'"),
        ("user_code_of_a_test.broken:x", r"importing .* failed: RuntimeError: half written \(.*broken.py, line 2\)"),
        ("user_code_of_a_test.needy:x", "imports 'a_module_that_nobody_has', which is not installed"),
    ],
)
def test_what_can_go_wrong(target: str, message: str) -> None:
    with pytest.raises(StripeError, match=message):
        build(f"python:{target}")


def test_arguments_that_the_factory_does_not_take() -> None:
    with pytest.raises(StripeError, match="unexpected keyword argument 'depth'"):
        outputs("plain", args={"depth": 3})
