"""A recipe whose runs take a second, and a model that kills the process which trains it, once."""

from pathlib import Path
from textwrap import dedent

import pytest

from stripe.reproduce import Cache, Changes, Plan, read
from stripe.reproduce.cache import Sources

DATA = "shapes:train=20,test=12"

RECIPE = f"""
title = "Two networks"
source = "nowhere"
claim = "They learn."
columns = [{{ name = "one copy" }}, {{ name = "two copies", copies = 2 }}]
rows = [
  {{ name = "SE", attention = "se", paper = [75.5, nan] }},
  {{ name = "IE", attention = "ie", paper = [74, 73.5] }},
]

[run]
model = "resnet11"
mode = "asr"
data = "{DATA}"
image_size = 16

[draw]
kind = "table"
"""

FIGURE = f"""
title = "Attention over epochs"
source = "nowhere"
claim = "It settles."

[run]
model = "resnet11"
attention = "se"
data = "{DATA}"
image_size = 16

[draw]
kind = "diff"
images = 2
channels = 3
"""

TINY = Changes(epochs=2, images_per_epoch=8)

# Dies in its second training step, which is in the second epoch where an epoch is one step.
DEADLY = """
import os, signal
from pathlib import Path
from stripe.models import build
from torch import nn

class Deadly(nn.Module):
    def __init__(self, marker):
        super().__init__()
        self.inner, self.marker, self.steps = build("resnet11", attention="se"), Path(marker), 0

    def forward(self, x):
        self.steps += self.training
        if self.steps == 2 and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.inner(x)

def make():
    return Deadly(Path(__file__).with_name("died"))
"""


@pytest.fixture
def write(tmp_path):
    """Write a recipe: ``write("name", text)`` gives its path."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / f"{name}.toml"
        path.write_text(dedent(text))
        return path

    return write


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "out" / "runs", Sources())


@pytest.fixture
def table(write):
    """The plan of four tiny runs."""
    return Plan.make(read(write("mine", RECIPE)), "quick", TINY)


@pytest.fixture
def figure(write):
    """The plan of one tiny run with its capture."""
    return Plan.make(read(write("picture", FIGURE)), "quick", TINY)


@pytest.fixture
def deadly(tmp_path, monkeypatch, write):
    """The plan of a run that kills its process in the second epoch, the first time."""
    (tmp_path / "deadly.py").write_text(DEADLY)
    monkeypatch.syspath_prepend(tmp_path)
    text = FIGURE.replace('"resnet11"\nattention = "se"', '"python:deadly:make"')
    return Plan.make(read(write("deadly", text)), "quick", TINY)
