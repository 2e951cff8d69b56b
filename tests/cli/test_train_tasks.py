"""``stripe train --task NAME``: the flags of each task, in a section of their own."""

from dataclasses import dataclass, field

import click
import pytest
from click.testing import CliRunner

from stripe.cli.train_options import TaskCommand, task_args_of, task_options
from stripe.errors import StripeError
from stripe.tasks.options import OPTIONS


@dataclass(frozen=True)
class First:
    """Options of one task."""

    weight: float = field(default=1.0, metadata={"help": "Of the loss."})
    layers: tuple[str, ...] = field(default=("a", "b"), metadata={"help": "Which."})
    masks: bool = field(default=True, metadata={"help": "Masks, too."})


@dataclass(frozen=True)
class Second:
    """Options of another, one of them also of the first."""

    weight: float = field(default=1.0, metadata={"help": "Of the loss."})
    kernel: int = field(default=7, metadata={"help": "Pixels."})


@pytest.fixture
def call(monkeypatch):
    """What a command gets of its arguments, as the task's options."""
    monkeypatch.setitem(OPTIONS, "first", First)
    monkeypatch.setitem(OPTIONS, "second", Second)
    given = []

    @click.command(cls=TaskCommand)
    @click.option("--seed", type=int)
    @task_options
    def command(task, **options):
        given.append(task_args_of(options, task or "classification"))
        assert set(options) == {"seed", "backbone_ckpt"}

    def run(*arguments):
        result = CliRunner().invoke(command, arguments)
        if isinstance(result.exception, StripeError):
            raise result.exception
        return given[0] if given else result.output

    return run


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--task", "first"], {}),
        (["--task", "first", "--weight", "1"], {"weight": 1.0}),
        (["--task", "second", "--weight", "2", "--kernel", "3"], {"weight": 2.0, "kernel": 3}),
        (["--task", "first", "--layers", "c, d,e"], {"layers": ("c", "d", "e")}),
        (["--task", "first", "--no-masks"], {"masks": False}),
        ([], {}),
    ],
)
def test_what_is_given(call, arguments, expected):
    assert call(*arguments) == expected


@pytest.mark.parametrize("task", ["second", "classification"])
def test_flags_of_another_task_are_refused(call, task):
    with pytest.raises(StripeError, match=f"--layers is an option of the task first, and this trains for {task}"):
        call("--task", task, "--layers", "a")


def test_the_help_has_a_section_for_each(call):
    shown = call("--help")
    common, both, first, second = (
        shown.index(f"Options{title}:")
        for title in ("", " of --task first, second", " of --task first", " of --task second")
    )
    assert common < both < first < second
    assert "--seed" in shown[common:both]
    assert "--weight FLOAT" in shown[both:first]
    assert "--masks / --no-masks" in shown[first:second]
    assert "[default: a, b]" in shown[first:second]
    assert "--kernel INTEGER" in shown[second:]
