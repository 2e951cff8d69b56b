"""Options of settings have the types, defaults and ranges of the fields of ``RunConfig`` and ``Recipe``."""

from dataclasses import dataclass, field, fields, replace
from typing import Literal

import click
import pytest
from click.testing import CliRunner

from stripe.cli.options import option_of
from stripe.cli.train import command as train
from stripe.errors import StripeError
from stripe.models.spec import Range
from stripe.training import RESNET, RunConfig


@dataclass(frozen=True)
class Settings:
    """One field of each type."""

    copies: int = field(default=3, metadata={"range": Range(1), "help": "How many."})
    rate: float | None = field(
        default=None, metadata={"range": Range(0, 1, low_open=True), "metavar": "R", "help": "Fast."}
    )
    start_at: Literal["paper", "alive"] = field(default="paper", metadata={"help": "Where."})
    fixed: bool = field(default=False, metadata={"help": "Stay."})
    where: str | None = field(default=None, metadata={"help": "A pattern."})
    psi: float | str | None = field(default=None, metadata={"help": "A number or a text."})


def call(name, *arguments, **otherwise):
    given = []
    command = click.Command("command", params=[], callback=lambda **values: given.append(values))
    result = CliRunner().invoke(option_of(Settings, name, **otherwise)(command), arguments)
    return given[0][name] if given else result.output


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (["copies"], 3),
        (["copies", "--copies", "2"], 2),
        (["rate"], None),
        (["rate", "--rate", "1"], 1.0),
        (["start_at"], "paper"),
        (["start_at", "--start-at", "alive"], "alive"),
        (["fixed"], False),
        (["fixed", "--fixed"], True),
        (["where", "--where", "1"], "1"),
        (["psi", "--psi", "N0.3"], "N0.3"),
    ],
)
def test_values(arguments, value):
    assert call(*arguments) == value
    assert type(call(*arguments)) is type(value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["copies", "--copies", "0"], "0 is not in the range x>=1"),
        (["copies", "--copies", "1.5"], "'1.5' is not a valid integer range"),
        (["rate", "--rate", "0"], "0.0 is not in the range 0<x<=1"),
        (["start_at", "--start-at", "dead"], "'dead' is not one of 'paper', 'alive'"),
    ],
)
def test_what_is_refused(arguments, message):
    assert message in call(*arguments)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("copies", ["--copies INTEGER RANGE", "How many.  [default: 3; x>=1]"]),
        ("rate", ["--rate R", "Fast.  [0<x<=1]"]),
        ("start_at", ["--start-at [paper|alive]", "Where.  [default: paper]"]),
        ("fixed", ["--fixed", "Stay.\n"]),
    ],
)
def test_help(name, lines):
    shown = call(name, "--help")
    assert all(line in shown for line in lines)


def test_what_stands_for_an_absent_option_is_in_the_help_alone():
    assert call("copies", absent="the recipe's") is None
    assert "How many. Default: the recipe's.  [x>=1]" in call("copies", "--help", absent="the recipe's")


@pytest.mark.parametrize(
    ("flag", "name", "value"),
    [
        ("--copies", "copies", 0),
        ("--noise-random", "noise_random", -0.1),
        ("--num-classes", "num_classes", 0),
        ("--accumulate", "accumulate", 0),
        ("--ema", "ema", 0),
        ("--ema", "ema", 1),
        ("--seed", "seed", -1),
        ("--images-per-epoch", "images_per_epoch", 0),
        ("--capture", "capture", -1),
        ("--epochs", "epochs", 0),
        ("--batch-size", "batch_size", 0),
        ("--lr", "lr", 0),
        ("--weight-decay", "weight_decay", -1),
        ("--label-smoothing", "label_smoothing", 1),
    ],
)
def test_the_command_and_python_refuse_the_same(flag, name, value, tmp_path):
    result = CliRunner().invoke(train, ["--out", str(tmp_path / "run"), flag, str(value)])
    assert result.exit_code == 2
    assert f"Invalid value for '{flag}'" in result.output
    with pytest.raises(StripeError, match=name):
        RunConfig(**{name: value}) if name in {entry.name for entry in fields(RunConfig)} else replace(
            RESNET, **{name: value}
        )
