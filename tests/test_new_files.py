"""What CONTRIBUTING.md promises: each attention module, data set, task or plot is one file, known by its name."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import stripe

PACKAGE = Path(stripe.__file__).parent

ATTENTION = """
import torch
from torch import Tensor
from stripe.attention.base import Attention
from stripe.attention.registry import register

@register("quarter")
class Quarter(Attention):
    def __init__(self, channels: int) -> None:
        super().__init__()

    def gate(self, x: Tensor) -> Tensor:
        return torch.full_like(x[..., :1, :1], 0.25)
"""

DATA = """
from dataclasses import replace
from pathlib import Path
from stripe.data.base import Data
from stripe.data.registry import load, register

@register("list:FILE", place=3)
def load_list(*, rest: str) -> Data:
    return replace(load("shapes:train=40,test=10"), spec=f"list:{rest}")
"""

PLOT = """
from stripe.plots.figure import StripeFigure
from stripe.plots.kinds import kind

@kind("capture", "nothing at all")
def nothing(capture) -> StripeFigure:
    return StripeFigure()
"""

TASK = """
from typing import NamedTuple
from stripe.tasks.base import Task
from stripe.tasks.registry import register
from stripe.tasks.scoring import Scoring

class Error(NamedTuple):
    loss: float

@register
class Regression(Task):
    name = "regression"
    scoring = Scoring(("loss",), best="loss", higher_is_better=False)

    def losses(self, output, targets):
        return {"square": (output[:, 0] - targets).square().mean()}

    def sums(self, output, targets, *, training):
        return output.new_zeros(0)

    def score(self, loss, sums, images):
        return Error(loss)
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with the new files in it; its folder. One for all, as Python compiles it anew."""
    tmp_path = tmp_path_factory.mktemp("copy")
    shutil.copytree(PACKAGE, tmp_path / "stripe", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "stripe" / "attention" / "quarter.py").write_text(ATTENTION)
    (tmp_path / "stripe" / "data" / "lists.py").write_text(DATA)
    (tmp_path / "stripe" / "plots" / "nothing.py").write_text(PLOT)
    (tmp_path / "stripe" / "tasks" / "regression.py").write_text(TASK)
    return tmp_path


def output(folder: Path, code: str) -> str:
    """What a program prints that imports the copy."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"},
    )
    assert done.returncode == 0, done.stderr
    return re.sub(r"\s+", " ", done.stdout)


def test_the_help_names_them_and_imports_no_torch(copy: Path) -> None:
    shown = output(
        copy,
        "import sys\n"
        "from stripe.cli import main\n"
        "main(['train', '--help'], standalone_mode=False)\n"
        "print([name for name in ('torch', 'numpy', 'pandas') if name in sys.modules])\n",
    )
    assert re.search(r"none, se, [^.]*, quarter\b[^.]*\.", shown)
    assert re.search(r"shapes, folder:PATH, [^;]*, list:FILE, [^;]*; shapes needs no files", shown)
    assert shown.endswith("[] ")


def test_they_are_made_by_their_names(copy: Path) -> None:
    shown = output(
        copy,
        "from stripe import attention, data, models\n"
        "print(models.build('resnet11', attention='quarter').layer1[0].attention_module)\n"
        "try: attention.attention('quater', 8)\n"
        "except Exception as error: print(error)\n"
        "print(data.load('list:a').spec, len(data.load('list:a').train))\n"
        "try: data.load('list')\n"
        "except Exception as error: print(error)\n"
        "from stripe.attention import Quarter\n"
        "from stripe.data import load_list\n"
        "from stripe.tasks import Regression, tasks\n"
        "print(Quarter.__module__, load_list.__module__, tasks()['regression'] is Regression)\n",
    )
    assert "Quarter()" in shown
    assert shown.endswith(" stripe.attention.quarter stripe.data.lists True ")
    assert "did you mean quarter?" in shown
    assert re.search("list:a 40 There is no data set 'list'. Use shapes, .*, list:FILE, ", shown)


def test_a_kind_of_plot_is_in_the_help(copy: Path) -> None:
    shown = output(copy, "from stripe.cli import main\nmain(['plot', '--help'], standalone_mode=False)\n")
    assert "nothing nothing at all" in shown
