import json

import pytest
from click.testing import CliRunner

from stripe.cli import main


@pytest.fixture
def captures(se_net, images, tmp_path):
    """The same tiny network twice, on the same six images."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    from stripe.capture import CaptureSession

    loader = DataLoader(TensorDataset(images, torch.arange(6)), batch_size=6)
    paths = [tmp_path / "one.h5", tmp_path / "two.h5"]
    for path in paths:
        with CaptureSession(se_net, loader, path, epochs=[1]) as session:
            session.record(1)
    return paths


def run(*arguments):
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


def test_the_same_network_twice_is_equal(captures):
    result = run(*captures, "--format", "json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert [row["against"] for row in rows if row["network"] == rows[0]["network"]] == [""]
    assert {row["against"] for row in rows[1:]} == {"equal"}


def test_tables(captures, tmp_path):
    result = run(*captures, "-o", tmp_path / "both.csv")
    assert result.exit_code == 0, result.output
    for text in ("Site by site", "[least, greatest]", "equal"):
        assert text in result.stdout
    assert (tmp_path / "both.csv").read_text().startswith("network,site,")
    tex = run(*captures, "--format", "tex").stdout
    assert tex.count(r"\begin{tabular}") == 2
    assert r"\%" in tex


def test_what_cannot_be_compared(captures, tmp_path):
    assert "name two or more" in run(captures[0]).output
    for name in ("best.safetensors", "model_best.pth.tar", "pytorch_model.bin"):
        checkpoint = tmp_path / name
        checkpoint.touch()
        assert "stripe capture --ckpt" in run(captures[0], checkpoint).output
