import subprocess
import sys

import pytest

import stripe


def test_layers_are_imported_when_asked_for() -> None:
    code = "import sys, stripe; before = 'torch' in sys.modules; stripe.models; print(before, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "False True\n"
    assert "plots" in dir(stripe)


def test_other_names_are_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Charge'"):
        _ = stripe.Charge
