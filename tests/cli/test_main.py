import subprocess
import sys

import pytest

from stripe.cli import COMMANDS


def test_help_lists_every_command(run) -> None:
    output = run("--help").output
    assert all(name in output for name in COMMANDS)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help(run, name: str) -> None:
    assert "Usage: main" in run(name, "--help").output


def test_python_dash_m() -> None:
    done = subprocess.run([sys.executable, "-m", "stripe", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("stripe, version ")


def test_errors_are_one_sentence_without_a_traceback() -> None:
    """As a user sees it: in a process of its own."""
    command = [sys.executable, "-m", "stripe", "inspect", "nowhere.h5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "Error: There is no file nowhere.h5; `stripe capture` makes one.\n"
    assert done.stdout == ""


def test_unknown_command(run) -> None:
    assert "No such command 'paint'" in run("paint", code=2).output
