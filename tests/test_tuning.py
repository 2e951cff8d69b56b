"""Every case in a process of its own: OpenMP reads its settings once, and the C library keeps them."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP and C library")

SAY = "import os, stripe; print(os.environ.get('GOMP_SPINCOUNT'), *stripe.tuning.applied, sep=' | ')"


def said(code: str = SAY, **environment: str) -> str:
    """What a process prints in an environment that sets nothing else of this kind."""
    own = ("OMP_", "GOMP_", "MALLOC_", "STRIPE_TUNING")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=clean | environment, check=True, capture_output=True, text=True).stdout.strip()


def test_both_are_set() -> None:
    assert said() == "3000 | GOMP_SPINCOUNT 3000 | freed memory kept"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"STRIPE_TUNING": "0"}, "None"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "None | freed memory kept"),
        ({"GOMP_SPINCOUNT": "7"}, "7 | freed memory kept"),
        ({"MALLOC_TRIM_THRESHOLD_": "1000000"}, "3000 | GOMP_SPINCOUNT 3000"),
    ],
)
def test_what_the_user_says_stays(environment: dict[str, str], expected: str) -> None:
    assert said(**environment) == expected


def test_processes_of_processes_have_it_too() -> None:
    nested = f"import stripe, subprocess, sys; subprocess.run([sys.executable, '-c', {SAY!r}])"
    assert said(nested) == "3000 | GOMP_SPINCOUNT 3000 | freed memory kept"


def test_torch_that_is_there_already_has_read_its_settings() -> None:
    """A module of that name stands in for torch, which takes seconds to import."""
    assert said(f"import sys; sys.modules['torch'] = sys; {SAY}") == "None | freed memory kept"
