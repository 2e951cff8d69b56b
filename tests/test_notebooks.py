"""The notebooks run from top to bottom, at a scale that takes seconds."""

import os
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ANALYSES = Path(__file__).parents[1] / "analyses"
NOTEBOOKS = sorted(ANALYSES.glob("*.ipynb"))
NEEDS = {"07_published_networks": ("onnx2torch", "onnxruntime", "rapidocr_onnxruntime")}
"""Notebook → packages of an extra that it needs."""


# A kernel that imports torch and trains for two epochs takes some ten seconds.
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.slow
def test_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in NEEDS.get(path.stem, ()):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    monkeypatch.setenv("STRIPE_EPOCHS", "3")
    monkeypatch.setenv("STRIPE_IMAGES_PER_EPOCH", "160")
    monkeypatch.setenv("STRIPE_SEEDS", "1")
    monkeypatch.setenv("STRIPE_LINES", "8")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # tests share the cores; threads that wait for each other are slower
    monkeypatch.setenv("PYTHONPATH", str(ANALYSES), prepend=os.pathsep)  # what lies beside a notebook can be imported
    monkeypatch.delenv("STRIPE_CAPTURE", raising=False)
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    pictures = [
        output for cell in notebook.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    assert pictures
