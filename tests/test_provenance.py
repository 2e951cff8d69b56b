import sys
from datetime import UTC, datetime

import torch

from stripe.provenance import command_line, provenance


def test_says_what_made_a_file(monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/stripe", "plot", "--kind", "diff", "my capture.h5"])
    made_by = provenance()
    assert made_by["command"] == "stripe plot --kind diff 'my capture.h5'"
    assert made_by["torch"] == torch.__version__.split("+")[0]
    assert datetime.fromisoformat(made_by["created"]) <= datetime.now(UTC)
    assert all(isinstance(value, str) and value for value in made_by.values())


def test_a_program_that_embeds_us_keeps_its_arguments(monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/home/me/train.py", "--token", "secret"])
    assert command_line() == "train.py"
