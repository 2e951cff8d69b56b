"""The notebooks run from top to bottom, at a scale that takes seconds."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "analyses").glob("*.ipynb"))


# A kernel that imports torch and trains for two epochs takes some ten seconds.
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.slow
def test_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIPE_EPOCHS", "3")
    monkeypatch.setenv("STRIPE_IMAGES_PER_EPOCH", "160")
    monkeypatch.setenv("STRIPE_SEEDS", "1")
    monkeypatch.delenv("STRIPE_CAPTURE", raising=False)
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    pictures = [
        output for cell in notebook.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    assert pictures
