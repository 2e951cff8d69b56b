import re
from functools import partial
from html import unescape
from html.parser import HTMLParser

import dask.array as da
import numpy as np
import pytest
import torch
import xarray as xr
from torch.utils.data import DataLoader, TensorDataset

from stripe import gradcam, report
from stripe.capture import open_capture
from stripe.errors import StripeError
from stripe.report.budget import BUDGET, plan
from stripe.training import Run
from tests.report.conftest import HOSTILE, MADE_BY, contents, decode, site, tree


def text(html: str) -> str:
    """What a page says, without its style, data and scripts."""

    class Reader(HTMLParser):
        def __init__(self):
            super().__init__()
            self.said, self.silent = [], ""

        def handle_starttag(self, tag, attrs):
            self.silent = tag if tag in ("script", "style") else self.silent

        def handle_endtag(self, tag):
            self.silent = "" if tag == self.silent else self.silent

        def handle_data(self, data):
            if not self.silent:
                self.said.append(data)

    reader = Reader()
    reader.feed(html)
    return " ".join(" ".join(reader.said).split())


@pytest.fixture(scope="module")
def page(small):
    return report.page(small, made_by=MADE_BY)


def test_what_the_page_says(page):
    said = text(page)
    assert "resnet20+se on cifar10" in said
    assert "attention of 5 images at 3 epochs" in said
    assert "Whether attention depends on the image cannot be told from this capture." in said
    assert "Of 3 sites at epoch 3: 3 undecided (too few images to tell)" in said
    assert "layer4: 3 × 4 px, mean of 500 images, predicted class" in said
    assert "This report shows a capture alone, without the training behind it" in said
    assert "Every captured value" in said
    assert "stripe report <run>" in said  # the command that made it
    assert "Settings" not in said


def test_what_the_pictures_show(page, small):
    data = contents(page)
    assert [found["name"] for found in data["sites"]] == ["layer1.0.se", "layer1.1.se", "layer1.1.spatial"]
    assert data["epochs"] == data["shown"] == [1, 2, 3]
    assert data["differences"] == ["2", "3"]
    values = small["sites/layer1.1.se/attention"].values.astype(float)
    np.testing.assert_allclose(decode(data["sites"][1]["attention"]), values, atol=1e-5)
    between, within = values.mean(1).var(1), values.var(1).mean(1)
    np.testing.assert_allclose(decode(data["index"])[1], between / (between + within), atol=1e-4)
    assert data["curves"] == []
    assert data["gradcam"][0]["layer"] == "layer4"


def test_nothing_is_loaded_from_anywhere(page):
    ours = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert re.findall(r'(?:src|href)="([^"#][^"]*)"', ours) == ["data:,"]
    assert "url(" not in ours
    assert "default-src 'none'" in unescape(page)


def test_the_page_is_for_everybody(page):
    assert '<html lang="en">' in page
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    assert page.count("<h1>") == 1
    titles = set(re.findall(r'id="([^"]+)"', page))
    assert set(re.findall(r'aria-labelledby="([^"]+)"', page)) <= titles
    assert page.count('<button type="button" class="site"') == 3


def test_the_same_input_makes_the_same_page(page, small):
    assert report.page(small, made_by=MADE_BY) == page


def test_a_run(make_run):
    path = make_run(captured=[1, 2, 3])
    html = report.page(runs=[Run(path)], made_by=MADE_BY)
    said = text(html)
    assert "resnet20+se on folder photos" in said
    assert "3 epochs of 64 images · seed 0" in said
    assert "Test accuracy 31.00 %" in said
    assert "recipe.batch_size 128 images" in said
    assert "/home/somebody" not in html
    assert [curve["name"] for curve in contents(html)["curves"]] == ["run"]
    assert [found["name"] for found in contents(html)["sites"]] == ["att"]


def test_a_run_without_a_capture(make_run):
    html = report.page(runs=[Run(make_run(finished=2, planned=12))], made_by=MADE_BY)
    assert "No attention was captured" in text(html)
    assert "Unfinished, 2 of 12 epochs" in text(html)
    assert contents(html)["sites"] == []


def test_a_run_whose_capture_is_damaged_still_has_a_page(make_run):
    path = make_run()
    (path / "capture.h5").write_bytes(b"not HDF5")
    said = text(report.page(runs=[Run(path)], made_by=MADE_BY))
    assert "capture.h5 can't be read as a capture" in said
    assert "Test accuracy" in said


def test_several_seeds(make_run):
    runs = [Run(make_run("seed-0", finished=0)), Run(make_run("seed-1", captured=[1], seed=1))]
    html = report.page(runs=runs, made_by=MADE_BY)
    assert "seeds 0, 1" in text(html)
    assert "Attention is that of seed-1; the other runs differ in their seed alone." in text(html)
    assert [curve["name"] for curve in contents(html)["curves"]] == ["seed-1"]


def test_names_with_html_are_text(make_run):
    path = make_run(captured=[1], classes=[HOSTILE], model=HOSTILE)
    html = report.page(runs=[Run(path)], made_by={"stripe": "1", "command": HOSTILE})
    assert "<img" not in html
    assert html.count("</script>") == 3  # data, plotly, ours
    assert HOSTILE in text(html)
    assert contents(html)["classes"] == ["cat", HOSTILE]


def test_a_site_with_html_in_its_name():
    name = "a&lt;<b onclick='x'>\u2028"
    html = report.page(tree({name: site(np.random.default_rng(0).random((1, 3, 4)))}), made_by=MADE_BY)
    assert "<b onclick" not in html
    assert contents(html)["sites"][0]["name"] == name


def test_grad_cam_alone(small):
    alone = tree({}, {"layer4": small["gradcam/layer4"].to_dataset()})
    html = report.page(alone, made_by=MADE_BY)
    assert "The file holds Grad-CAM maps alone" in text(html)
    assert "layer4: 3 × 4 px" in text(html)
    assert 'id="overview"' not in html


def test_grad_cam_of_a_real_network_and_nothing_else(se_net, images, tmp_path):
    loader = DataLoader(TensorDataset(images, torch.arange(6)), batch_size=3)
    path = gradcam.save(gradcam.gradcam(se_net, loader, "conv"), tmp_path / "gradcam.h5", attrs={"model": "tiny"})
    html = report.page(path, made_by=MADE_BY)
    assert "conv: 8 × 8 px, mean of 6 images" in text(html)
    mean = open_capture(path)["gradcam/conv/mean"].values
    np.testing.assert_allclose(decode(contents(html)["gradcam"][0]["mean"])[0], mean, atol=1e-4)


def test_neither_attention_nor_grad_cam():
    with pytest.raises(StripeError, match="neither attention sites nor Grad-CAM maps"):
        report.page(tree({}))


def test_nothing_at_all():
    with pytest.raises(StripeError, match="needs a capture or a run"):
        report.page()


def test_arguments_in_another_order(small, make_run, tmp_path):
    run = Run(make_run())
    with pytest.raises(StripeError, match=r"path comes first.*the first is a DataTree"):
        report.save(small, tmp_path / "report.html")
    with pytest.raises(StripeError, match=r"path comes first.*the first is a Run"):
        report.save(run, tmp_path / "report.html")
    with pytest.raises(StripeError, match=r"A capture is a path.*not a Run"):
        report.save(tmp_path / "report.html", run)
    with pytest.raises(StripeError, match=r"Runs are a list.*\[run\]"):
        report.save(tmp_path / "report.html", runs=run)
    assert not (tmp_path / "report.html").exists()


def test_a_single_epoch_of_a_single_image():
    html = report.page(tree({"a": site([[[0.1, 0.2]]])}), made_by=MADE_BY)
    assert "Whether attention depends on the image cannot be told from this capture." in text(html)
    assert contents(html)["sites"][0]["diff"] is None
    assert np.isnan(decode(contents(html)["index"])).all()


def test_nan_is_said_and_left_blank():
    values = np.random.default_rng(0).random((2, 5, 4))
    values[1, 2, 3] = np.nan
    html = report.page(tree({"a": site(values)}), made_by=MADE_BY)
    assert "Beware: 1 of its values are NaN or infinite." in contents(html)["sites"][0]["verdict"]
    assert np.isnan(decode(contents(html)["sites"][0]["attention"])).sum() == 1


def test_a_glob_chooses_sites(small):
    html = report.page(small, sites="*.se", made_by=MADE_BY)
    assert [found["name"] for found in contents(html)["sites"]] == ["layer1.0.se", "layer1.1.se"]
    with pytest.raises(StripeError, match=r"No site of the capture fits 'layer9'"):
        report.page(small, sites="layer9")


def test_a_hundred_sites():
    rng = np.random.default_rng(0)
    sites = {f"blocks.{i}.se": site(rng.random((2, 8, 16)), i) for i in range(120)}
    html = report.page(tree(sites), made_by=MADE_BY)
    assert len(contents(html)["sites"]) == 120
    assert html.count('class="site"') == 120


@pytest.mark.slow
def test_a_large_capture_stays_below_15_mb_and_says_what_it_shows():
    """A gigabyte and a half of lazily made values; takes some 10 s, because all of them are measured."""
    shape, sites = (8, 1000, 2048), {}
    for order in range(24):
        values = da.random.default_rng(order).random(shape, dtype=np.float32, chunks=(8, 250, 2048))
        variables = {"attention": (("epoch", "image", "channel"), values)}
        attrs = {"kind": "channel", "owner": "SE", "map_shape": [2048, 7, 7], "order": order, "input_dependent": 1}
        sites[f"layer4.{order}.se"] = xr.Dataset(variables, attrs=attrs)
    html = report.page(tree(sites), made_by=MADE_BY)
    assert 10e6 < len(html.encode()) < 15e6
    assert "The capture is larger than a page can hold." in text(html)
    found = contents(html)["sites"][0]
    epochs, images, columns = found["attention"]["shape"]
    assert found["note"] == (
        f"Shown: one image of {found['step']} ({images} of 1,000), means of {found['group']} neighbouring channels "
        f"({columns} of 2,048 columns)."
    )
    assert epochs == 8
    assert min(images, columns) > 80


def test_a_long_training_is_thinned(monkeypatch):
    monkeypatch.setattr("stripe.report.contents.plan", partial(plan, budget=20_000))
    data = contents(report.page(tree({"a": site(np.random.default_rng(0).random((130, 20, 10)))}), made_by=MADE_BY))
    assert len(data["epochs"]) == 130
    assert (len(data["shown"]), data["shown"][0], data["shown"][-1]) == (12, 1, 130)
    # 129 differences, to epochs 2 … 130, are averaged by threes to be at most 64.
    assert data["differences"][:2] == ["2–4", "5–7"]
    assert data["differences"][-1] == "128–130"
    assert data["sites"][0]["diff"]["shape"][:2] == [1, 43]
    assert "12 of 130 epochs, differences averaged over 3 epochs." in data["sites"][0]["note"]


def test_a_page_is_written_whole_or_not_at_all(small, tmp_path, monkeypatch):
    path = report.save(tmp_path / "report.html", small, made_by=MADE_BY)
    assert path.read_text(encoding="utf-8") == report.page(small, made_by=MADE_BY)
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    before = path.read_bytes()
    with pytest.raises(StripeError, match=r"report\.html cannot be written: No space left on device"):
        report.save(path, small)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_a_capture_on_disk(make_run, tmp_path):
    path = make_run(captured=[1, 2]) / "capture.h5"
    data = contents(report.page(path, made_by=MADE_BY))
    values = open_capture(path)["sites/att/attention"].values
    np.testing.assert_allclose(decode(data["sites"][0]["attention"]), values, atol=1e-5)
    with pytest.raises(StripeError, match="There is no file"):
        report.page(tmp_path / "nowhere.h5")


def test_two_captures_side_by_side(small):
    noise = np.random.default_rng(2).random((1, 30, 5))
    html = report.page([small, tree({"other": site(noise)}, model="resnet29")], made_by=MADE_BY)
    said = text(html)
    assert "resnet20 + se and resnet29 + se" in said
    assert "No site has the same name in all networks" in said
    assert "captures are of different images" in said
    assert "Of 1 site at epoch 1" in said
    both = contents(html)["networks"]
    assert [[each["name"] for each in network["sites"]] for network in both] == [
        ["layer1.0.se", "layer1.1.se", "layer1.1.spatial"],
        ["other"],
    ]
    assert decode(both[1]["sites"][0]["attention"]).shape == (1, 30, 5)


def test_networks_share_the_room_of_a_page(monkeypatch):
    rooms = []

    def spy(*arguments):
        rooms.append(arguments[2:])
        return plan(*arguments)

    monkeypatch.setattr("stripe.report.contents.plan", spy)
    capture = tree({"a": site(np.random.default_rng(0).random((1, 20, 3)))})
    report.page([capture, capture, capture], made_by=MADE_BY)
    report.page(capture, made_by=MADE_BY)
    assert rooms == [(BUDGET // 3,)] * 3 + [()]


def test_a_run_without_attention_beside_a_capture(small, make_run):
    said = text(report.page([Run(make_run()), small], made_by=MADE_BY))
    assert "run and resnet20 + se" in said
    assert "Fewer than two of them have attention" in said
    assert "Settings" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"capture": []}, "two networks or more"),
        ({"capture": ["one.h5"]}, "this one has 1"),
        ({"capture": ["a.h5", "b.h5"], "runs": [1]}, "runs= is of one network"),
    ],
)
def test_what_is_not_side_by_side(arguments, message):
    with pytest.raises(StripeError, match=message):
        report.page(**arguments)
