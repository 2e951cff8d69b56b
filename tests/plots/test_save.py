import json
import re
import xml.etree.ElementTree as ET

import pytest
from matplotlib.figure import Figure
from PIL import Image

from stripe import plots
from stripe.errors import StripeError
from stripe.plots.figure import StripeFigure


@pytest.fixture(scope="module")
def figure(capture):
    return plots.stripe(capture, sites="layer1.0.*", images=5, channels=4, seed=3)


MADE_BY = {"stripe": "1.2.3", "command": "stripe plot --kind stripe é.h5"}


def check(record):
    assert record["stripe"] == "1.2.3"
    assert record["command"] == "stripe plot --kind stripe é.h5"
    drawn = record["drawn"]
    assert drawn["kind"] == "stripe"
    assert drawn["seed"] == 3
    assert drawn["epoch"] == 6
    assert len(drawn["images"]) == 5
    assert len(drawn["sites"]["layer1.0.attention_module"]["channels"]) == 4
    assert drawn["model"] == "resnet29"
    assert drawn["scale"] == "quick"


def test_a_png_says_what_made_it(figure, tmp_path):
    path = plots.save(figure, tmp_path / "new" / "folder" / "a.png", MADE_BY)
    with Image.open(path) as image:
        assert image.text["Software"] == "stripe 1.2.3"
        check(json.loads(image.text["Description"]))
        assert image.size == (1080 * 2, 660)  # 7.2 × 2.2 inches at 300 dpi


def test_a_pdf_says_what_made_it(figure, tmp_path):
    content = plots.save(figure, tmp_path / "a.PDF", MADE_BY).read_bytes()
    assert content.startswith(b"%PDF")
    subject = re.search(rb"/Subject \((.*?[^\\])\)", content, re.DOTALL).group(1)
    unescaped = re.sub(rb"\\([()\\])", rb"\1", subject.replace(b"\\\n", b""))
    check(json.loads(unescaped))


def test_an_svg_says_what_made_it(figure, tmp_path):
    root = ET.parse(plots.save(figure, tmp_path / "a.svg", MADE_BY)).getroot()
    check(json.loads(next(root.iter("{http://purl.org/dc/elements/1.1/}description")).text))


def test_provenance_is_there_by_default_and_any_figure_can_be_saved(tmp_path):
    with Image.open(plots.save(Figure(), tmp_path / "plain.png")) as image:
        record = json.loads(image.text["Description"])
    assert {"stripe", "command", "created", "python"} <= record.keys()
    assert record["drawn"] == {}


@pytest.mark.parametrize("name", ["a.jpg", "a", "a.png.gz"])
def test_an_unknown_ending(name, tmp_path):
    with pytest.raises(StripeError, match=r"end it in \.png, \.pdf or \.svg"):
        plots.save(Figure(), tmp_path / name)


def test_a_failure_leaves_the_old_picture_and_nothing_half_written(figure, tmp_path, monkeypatch):
    path = plots.save(Figure(), tmp_path / "a.png")
    old = path.read_bytes()

    def full(self, target, **kwargs):
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(figure), "savefig", full)
    with pytest.raises(StripeError, match=r"a\.png cannot be written: No space left"):
        plots.save(figure, path)
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StripeError, match="cannot be written"):
        plots.save(Figure(), tmp_path / "file" / "a.png")


def test_no_folder_of_the_users_is_handed_on(tmp_path):
    figure = StripeFigure({"savefig.dpi": 50, "figure.dpi": 50}, 1, 1, {"kind": "x", "capture": "/home/me/run/c.h5"})
    figure.drawn |= {"data": "folder:/home/me/photos", "panels": [{"capture": "/home/me/d.h5", "path": "runs/e.h5"}]}
    made_by = {"command": "stripe plot '/home/me/my run/c.h5' --out=/home/me/x.png --kind std"}
    with Image.open(plots.save(figure, tmp_path / "x.png", made_by)) as image:
        record = json.loads(image.text["Description"])
    assert record["command"] == "stripe plot c.h5 --out=x.png --kind std"
    assert record["drawn"]["capture"] == "c.h5"
    assert record["drawn"]["data"] == "folder:photos"
    assert record["drawn"]["panels"] == [{"capture": "d.h5", "path": "runs/e.h5"}]
