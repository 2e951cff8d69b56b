import subprocess
import sys

import pytest

import stripe


def test_layers_are_imported_when_asked_for() -> None:
    code = "import sys, stripe; was = 'torch' in sys.modules; stripe.models.build; print(was, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "False True\n"
    assert "plots" in dir(stripe)


def test_other_names_are_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Charge'"):
        _ = stripe.Charge


LIGHT = [
    "stripe.training.RunConfig()",
    "stripe.training.RECIPES",
    "stripe.models.spec",
    "stripe.tasks.Scoring()",
    "stripe.data.ImageSize",
]


def test_settings_are_read_without_torch() -> None:
    """One after the other in one new process; the first that imports it would be named, and all after it."""
    imports = "import sys, stripe.training, stripe.models.spec, stripe.tasks, stripe.data\n"
    looks = "".join(f"{asked}\nif 'torch' in sys.modules: print({asked!r})\n" for asked in LIGHT)
    done = subprocess.run([sys.executable, "-c", imports + looks], check=True, capture_output=True, text=True)
    assert done.stdout == ""


def test_every_name_of_a_package_is_there() -> None:
    """In one new process: what other tests imported would hide a missing name, and torch is imported once."""
    code = """
import importlib
for package in ("data", "models", "tasks", "training"):
    module = importlib.import_module(f"stripe.{package}")
    print([name for name in module.__all__ if name != "checkpoint" and type(getattr(module, name)) is type(module)])
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n" * 4
