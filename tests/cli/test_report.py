import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from stripe.capture import CaptureSession


@pytest.fixture
def capture(se_net, images, tmp_path):
    path = tmp_path / "capture.h5"
    with CaptureSession(se_net, DataLoader(TensorDataset(images), batch_size=3), path, epochs=[1, 2]) as session:
        for epoch in (1, 2):
            session.record(epoch)
            with torch.no_grad():
                se_net.att.fc.weight.add_(0.5)
    return path


def test_a_capture_becomes_a_page(run, capture, tmp_path):
    assert run("report", str(capture)).stdout == "report.html\n"
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert html.startswith("<!doctype html>")
    assert "This report shows a capture alone" in html


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sites", "layer9.*"], "No site of the capture fits 'layer9.*'. It has att."),
        (["--frontier", "capture.h5"], "capture.h5 is no table of accuracy against speed"),
        (["-o", "capture.h5"], "A report is an HTML page: end 'capture.h5' in .html."),
        (["-o", "capture.h5/report.html"], "capture.h5/report.html cannot be written"),
    ],
)
def test_mistakes_are_one_sentence(run, capture, tmp_path, arguments, message):
    assert message in run("report", str(capture), *arguments, code=1).stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["capture.h5"]


def test_a_folder_that_is_no_run(run, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "empty is no run: it has no run.json." in run("report", "empty", code=1).stderr


def test_a_file_that_is_no_capture(run, tmp_path):
    (tmp_path / "notes.h5").write_text("hello")
    assert "can't be read as a capture" in run("report", "notes.h5", code=1).stderr
    assert "does not exist" in run("report", "nothing.h5", code=2).stderr


def test_several_captures_become_one_page(run, capture, tmp_path):
    (tmp_path / "other.h5").write_bytes(capture.read_bytes())
    assert run("report", str(capture), "other.h5", "-o", "both.html").stdout == "both.html\n"
    assert 'id="network-choice"' in (tmp_path / "both.html").read_text(encoding="utf-8")
