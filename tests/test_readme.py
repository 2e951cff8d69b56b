"""The commands of the README, one after the other, in a folder that holds photos and nothing else."""

import ast
import operator
import re
import shlex
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import stripe
from stripe.cli import main

README = Path(__file__).parents[1] / "README.md"

SMALLER = {
    "timm:seresnet50": "timm:seresnet18",  # the test is of the commands, not of the network
    "--pretrained": "--num-classes 3",  # published weights are not there without the net
    "resnet29": "resnet11",
    "--epochs 10": "--epochs 2",
    "reproduce fig12": "reproduce fig12 --dry-run",
}


def commands(heading: str) -> list[list[str]]:
    """The arguments of the commands in the first block below a heading, with what takes long made smaller."""
    section = README.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2]
    block = re.search(r"```console\n(.*?)```", section, re.DOTALL)
    assert block is not None
    text = block[1]
    for long, short in SMALLER.items():
        assert long in text, f"{long} is no more in the README"
        text = text.replace(long, short)
    return [shlex.split(line, comments=True) for line in text.splitlines()]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """300 of them, of three classes that differ in colour; fewer than the 500 that the README asks for."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for number, name in enumerate(("bird", "cat", "dog")):
        (Path("photos") / name).mkdir(parents=True)
        for index in range(100):
            values = generator.integers(0, 128, (32, 32, 3), dtype=np.uint8)
            values[..., number] += 100
            Image.fromarray(values).save(Path("photos") / name / f"{index}.png")


@pytest.mark.slow
def test_every_line_of_what_it_does_works(photos: None) -> None:
    """It takes longer than other tests, as it is all of the program once: training, captures, a report."""
    said = ""
    for program, *arguments in commands("What it does"):
        assert program == "stripe"
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, f"stripe {shlex.join(arguments)}\n{result.output}"
        said += result.output
    assert "300 images, not 500: all of them are taken" in said
    made = {path.name for path in Path().iterdir()}
    assert made >= {"seresnet18-random-photos.h5", "run", "capture.h5", "metrics.csv", "capture-diff.png"}
    assert made >= {"report.html"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


LINES = [
    line
    for block in blocks("console")
    for line in re.findall(r"^(?:pip install \. && )?(stripe .*?)\s*(?:#.*)?$", block, re.MULTILINE)
]


@pytest.mark.parametrize("line", LINES)
def test_every_command_and_flag_is_there(line: str) -> None:
    """In all blocks, also in those that are not run."""
    program, name, *arguments = shlex.split(line)
    assert program == "stripe"
    command = main.get_command(click.Context(main), name)
    assert command is not None, name
    known = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    assert {word.partition("=")[0] for word in arguments if word.startswith("-")} <= known


@pytest.mark.parametrize("block", blocks("python"))
def test_every_name_that_is_imported_is_there(block: str) -> None:
    """In the blocks of Python, in which networks and images are the reader's."""
    tree = ast.parse(block)
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            exec(compile(ast.Module([node], []), "README.md", "exec"), {})
    asked = re.findall(r"\bstripe((?:\.\w+)+)\(", block)
    for path in asked:
        assert operator.attrgetter(path[1:])(stripe)
