"""The page in a real browser: the system's Chromium, driven by Playwright."""

import shutil
from functools import partial

import numpy as np
import pandas as pd
import pytest

from stripe import report
from stripe.report.budget import plan
from stripe.tasks import structure
from stripe.training import Run
from tests.report.conftest import HOSTILE, MADE_BY, site, tree

playwright = pytest.importorskip("playwright.sync_api", exc_type=ImportError)

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")

# Nothing but the page: no sandbox (containers have none), no GPU, no talk with anybody.
QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=QUIET.split())
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, tmp_path):
    """Open a page; afterwards it must not have complained, nor asked for anything but itself."""
    pages, said, asked = [], [], []

    def open_(html, **settings):
        path = tmp_path / f"{len(pages)}.html"
        path.write_text(html, encoding="utf-8")
        page = browser.new_page(**{"viewport": {"width": 1280, "height": 900}, **settings})
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        pages.append(page)
        return page

    yield open_
    for page in pages:
        page.close()
    assert said == []
    assert len(asked) == len(pages)


@pytest.fixture(scope="module")
def html(small):
    return report.page(small, made_by=MADE_BY)


def drawn(page, chart="attention-chart"):
    """The numbers of a picture's first trace."""
    rows = page.evaluate(f"Array.from(document.getElementById('{chart}').data[0].z, (row) => Array.from(row))")
    return np.array(rows, dtype=float)


def attention(small, name, epoch):
    return small[f"sites/{name}/attention"].values[epoch].reshape(5, -1)


def test_the_first_site_at_the_last_epoch(visit, html, small):
    page = visit(html)
    np.testing.assert_allclose(drawn(page), attention(small, "layer1.0.se", 2), atol=1e-4)
    assert page.inner_text("#site-title") == "Site layer1.0.se"
    assert page.input_value("#epoch") == "2"
    assert page.locator(".chart .plotly").count() == 5  # index, attention, std, differences, Grad-CAM


def test_the_std_before_and_after_and_the_differences(visit, html, small):
    page = visit(html)
    traces = page.evaluate("document.getElementById('std-chart').data.map((trace) => Array.from(trace.y))")
    for values, variable in zip(traces, ("input", "attention"), strict=True):
        expected = small[f"sites/layer1.0.se/{variable}"].values[2].std(axis=0)
        np.testing.assert_allclose(values, expected, rtol=1e-3)
    expected = np.abs(np.diff(small["sites/layer1.0.se/attention"].values, axis=0)).mean(axis=1).T
    np.testing.assert_allclose(drawn(page, "diff-chart"), expected, atol=1e-4)


def test_a_click_on_the_overview_chooses_site_and_epoch(visit, html, small):
    page = visit(html)
    box = page.locator("#index-chart .nsewdrag").bounding_box()
    # Three sites, three epochs: the cell in the middle.
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_function("document.getElementById('site-title').textContent === 'Site layer1.1.se'")
    assert page.inner_text("#epoch-name") == "2"
    np.testing.assert_allclose(drawn(page), attention(small, "layer1.1.se", 1), atol=1e-4)


def test_the_keyboard_chooses_site_and_epoch(visit, html, small):
    page = visit(html)
    page.locator("button.site", has_text="layer1.1.se").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "site-title"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "epoch"
    page.keyboard.press("ArrowLeft")
    np.testing.assert_allclose(drawn(page), attention(small, "layer1.1.se", 1), atol=1e-4)
    assert page.get_attribute("#epoch", "aria-valuetext") == "epoch 2"
    assert "layer1.1.se at epoch 2" in page.get_attribute("#attention-chart", "aria-label")
    assert page.get_attribute("button.site[aria-current=true]", "data-site") == "1"


def test_the_keyboard_zooms_and_shows_everything_again(visit, html):
    page = visit(html)
    ranges = "['xaxis', 'yaxis'].map((axis) => document.getElementById('attention-chart').layout[axis].range)"
    before = np.array(page.evaluate(ranges))
    page.locator("#attention-chart").focus()
    page.keyboard.press("+")
    np.testing.assert_allclose(np.array(page.evaluate(ranges)), before * 0.5 + before.mean(1, keepdims=True) * 0.5)
    page.keyboard.press("ArrowRight")
    assert page.evaluate(ranges)[0][0] > before[0].mean() - np.ptp(before[0]) / 4
    page.keyboard.press("0")
    np.testing.assert_allclose(np.array(page.evaluate(ranges)), before)


def test_a_spatial_site_shows_its_mean_map(visit, html, small):
    page = visit(html)
    page.select_option("#site-choice", label="layer1.1.spatial")
    maps = small["sites/layer1.1.spatial/attention"].values[2]
    np.testing.assert_allclose(drawn(page), maps.reshape(5, 6), atol=1e-4)
    np.testing.assert_allclose(drawn(page, "std-chart"), maps.mean(axis=0), atol=1e-4)


def test_grad_cam(visit, html, small):
    mean = small["gradcam/layer4/mean"].values
    np.testing.assert_allclose(drawn(visit(html), "gradcam-chart-0"), mean, atol=1e-4)


@pytest.mark.parametrize(("width", "columns"), [(1280, 4), (400, 2)])
def test_the_weights_of_a_structure_search(visit, make_run, width, columns):
    run = Run(make_run())
    alpha = {f"layer{stage}.{block}": [0, 1, 0, 0, stage] for stage in (1, 2, 3) for block in (0, 1)}
    structure.write(run.path, 1, alpha, family="cbam", kernel_size=7)
    page = visit(report.page(runs=[run], made_by=MADE_BY), viewport={"width": width, "height": 800})
    traces = page.evaluate(
        "document.getElementById('search-chart').data.map(({ name, y, line }) => [name, y, line.width])"
    )
    assert len(traces) == 30
    assert [trace[0] for trace in traces[:5]] == ["identity", "CA→SA", "SA→CA", "CA", "SA"]
    e = np.e
    assert traces[1][1] == pytest.approx([0.2, e / (3 + 2 * e)], abs=1e-5)
    assert [trace[2] > 2 for trace in traces[10:15]] == [False, False, False, False, True]
    places = page.evaluate(
        "[...document.querySelectorAll('#search-chart .annotation-text')].map((e) => e.getBoundingClientRect().x)"
    )
    assert len({round(place) for place in places}) == columns
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_dark_and_light_and_paper(visit, html):
    page = visit(html, color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    letters = "getComputedStyle(document.querySelector('#index-chart .xtick text')).fill"
    assert (page.evaluate(ground), page.evaluate(letters)) == ("rgb(18, 18, 18)", "rgb(233, 233, 233)")
    page.emulate_media(color_scheme="light")
    page.wait_for_function(f"{letters} === 'rgb(27, 27, 27)'")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    page.emulate_media(color_scheme="dark", media="print")
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    assert not page.is_visible("nav")
    assert page.pdf()[:4] == b"%PDF"


def test_a_narrow_window_needs_no_scrolling_sideways(visit, html):
    page = visit(html, viewport={"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    assert page.locator("#attention-chart .main-svg").first.bounding_box()["width"] <= 400


def test_a_run_with_hostile_names_and_a_single_epoch(visit, make_run):
    path = make_run(finished=1, planned=1, captured=[1], model=HOSTILE)
    page = visit(report.page(runs=[Run(path)], made_by=MADE_BY))
    assert HOSTILE in page.inner_text("h1")
    assert not page.is_visible("#epoch")
    assert page.is_visible("#diff-empty")
    assert page.locator("#loss-chart .plotly").count() == 1
    assert page.locator("img").count() == 0
    surface = page.locator("#attention-chart .nsewdrag")
    surface.scroll_into_view_if_needed()
    box = surface.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 4)  # image 1, whose class is hostile
    page.wait_for_selector("#attention-chart .hovertext")
    assert "<img src=x" in page.text_content("#attention-chart .hovertext")


def test_a_nan_is_a_hole(visit):
    values = np.random.default_rng(0).random((2, 5, 4))
    values[1, 2, 3] = np.nan
    page = visit(report.page(tree({"a": site(values, before=values)}), made_by=MADE_BY))
    assert np.argwhere(np.isnan(drawn(page))).tolist() == [[2, 3]]


def test_a_capture_of_nothing_but_nan(visit):
    page = visit(report.page(tree({"a": site(np.full((2, 5, 4), np.nan))}), made_by=MADE_BY))
    assert "undefined" in page.get_attribute("#attention-chart", "aria-label")


def test_a_thinned_capture(visit, monkeypatch):
    monkeypatch.setattr("stripe.report.contents.plan", partial(plan, budget=20_000))
    values = np.random.default_rng(0).random((30, 50, 40))
    page = visit(report.page(tree({"a": site(values)}), made_by=MADE_BY))
    assert page.get_attribute("#epoch", "max") == "11"
    assert page.inner_text("#site-shown").startswith("Shown: one image of ")
    assert page.inner_text("#epoch-name") == "30"


def test_the_frontier_of_folding(small, visit):
    table = pd.DataFrame(
        {
            "sites": [0, 1],
            "site": [None, HOSTILE],
            "accuracy": [60.0, 59.0],
            "uncertainty": [0, 0.5],
            "error": [0, 0.1],
            "relative_speed": [1, 1.2],
        }
    )
    page = visit(report.page(small, frontier=table, made_by=MADE_BY))
    page.wait_for_selector("#frontier-chart .main-svg")
    assert page.locator("#frontier-chart .point").count() == 2
    assert page.get_attribute("#frontier-chart", "aria-label") == "Accuracy against speed, with 0 to 1 site folded."


def test_two_networks_one_at_a_time(visit, small):
    values = np.random.default_rng(1).random((2, 30, 4))
    other = tree({"layer1.0.se": site(values)}, model="resnet29")
    page = visit(report.page([small, other], made_by=MADE_BY))
    assert page.inner_text("h1") == "resnet20 + se and resnet29 + se"
    assert page.locator("#comparison table").count() == 2  # the networks, and the one site that both have
    assert page.is_visible("#n0-attention-chart")
    assert not page.is_visible("#n1-network")
    page.select_option("#network-choice", label="resnet29 + se")
    assert not page.is_visible("#n0-network")
    np.testing.assert_allclose(drawn(page, "n1-attention-chart"), values[1], atol=1e-4)
    page.locator("#n1-network button.site").click()
    assert page.evaluate("document.activeElement.id") == "n1-site-title"
    page.locator("#n1-attention-chart").focus()
    page.keyboard.press("+")
    page.select_option("#network-choice", label="resnet20 + se")
    assert page.is_visible("#n0-attention-chart")
    narrow = visit(report.page([small, other], made_by=MADE_BY), viewport={"width": 400, "height": 800})
    narrow.select_option("#network-choice", label="resnet29 + se")
    assert narrow.evaluate("document.documentElement.scrollWidth") == 400
    assert narrow.locator("#n1-attention-chart .main-svg").first.bounding_box()["width"] <= 400
