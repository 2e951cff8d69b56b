"""What CONTRIBUTING.md promises: a new attention module is one new file, known everywhere by its name."""

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


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package with the new files in it; its folder."""
    shutil.copytree(PACKAGE, tmp_path / "stripe", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "stripe" / "attention" / "quarter.py").write_text(ATTENTION)
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
    assert "dia, quarter." in shown
    assert shown.endswith("[] ")


def test_they_are_made_by_their_names(copy: Path) -> None:
    shown = output(
        copy,
        "from stripe import attention, models\n"
        "print(models.build('resnet11', attention='quarter').layer1[0].attention_module)\n"
        "try: attention.attention('quater', 8)\n"
        "except Exception as error: print(error)\n",
    )
    assert "Quarter()" in shown
    assert "did you mean quarter?" in shown
