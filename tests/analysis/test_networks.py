import numpy as np
import pytest
import xarray as xr

from stripe.analysis import compare, overview
from stripe.analysis.side_by_side import comparison_notes, network_rows, site_rows
from stripe.errors import StripeError

IMAGES = 30


def capture(sites: dict[str, float], source: str = "", **attrs: str) -> xr.DataTree:
    """Sites of three channels of means 1, 2 and 4, by their std over the images, which is the same in all channels."""
    swing = np.where(np.arange(IMAGES) % 2, 1.0, -1.0)[None, :, None]
    root = xr.Dataset(
        {
            "label": ("image", np.zeros(IMAGES, int)),
            "path": ("image", [f"{i}.png" for i in range(IMAGES)]),
            "learning_rate": ("epoch", [np.nan]),
        },
        coords={"epoch": [1], "image": np.arange(IMAGES)},
        attrs={"model": "net", "data": "shapes", **attrs},
    )
    nodes = {
        f"/sites/{name}": xr.Dataset(
            {"attention": (("epoch", "image", "channel"), np.array([1.0, 2.0, 4.0]) + std * swing)},
            attrs={"kind": "channel", "order": order, "input_dependent": 1, "map_shape": [3, 2, 2], "owner": "SE"},
        )
        for order, (name, std) in enumerate(sites.items())
    }
    tree = xr.DataTree.from_dict({"/": root, **nodes})
    tree.encoding["source"] = source
    return tree


def test_sites_of_the_same_name_are_compared_with_the_first_network() -> None:
    table = compare({"A": capture({"a": 0.01, "b": 0.5}), "B": capture({"a": 0.5, "b": 0.01, "c": 0.1})})
    assert table[["network", "site", "against"]].values.tolist() == [
        *(["A", "a", ""], ["A", "b", ""]),
        *(["B", "a", "further"], ["B", "b", "nearer"], ["B", "c", ""]),
    ]
    # Var of the channel means 1, 2, 4 is 14/9; of both, 0.25 is within the channels.
    assert table["stripe_index"][1] == pytest.approx((14 / 9) / (14 / 9 + 0.25))
    assert table.attrs["matched"] == ["a", "b"]
    assert table.attrs["same_images"]


def test_networks_without_a_common_name_are_summed_up() -> None:
    table = compare([capture({"a": 0.01, "b": 0.5}, model="x"), capture({"c": 0.2}, model="y")])
    assert table.attrs["matched"] == []
    summed = overview(table)
    assert summed[["network", "sites"]].values.tolist() == [["x", 2], ["y", 1]]
    # RMS of the means is √7; N / (N − 1) makes up for the mean being that of the same images.
    errors = [np.sqrt(30 / 29) * std / np.sqrt(7 + std**2) for std in (0.01, 0.5)]
    assert summed["constant_error_min"][0] == pytest.approx(errors[0])
    assert summed["constant_error"][0] == pytest.approx(np.mean(errors))


def test_controls_are_compared_within_their_network() -> None:
    controlled = capture({"a": 0.5})
    of_control = capture({"a": 0.01})["sites/a"].dataset.isel(epoch=0, drop=True)
    about = {"epoch": 0, "how": "at initialisation", "seed": 0, "digest": "", "order": 0}
    controlled["controls/init"] = xr.DataTree(xr.Dataset(attrs=about))
    controlled["controls/init/sites/a"] = xr.DataTree(of_control)
    table = compare({"A": controlled, "B": capture({"a": 0.5})}, resamples=100)
    assert table["against_init"].tolist() == ["further", ""]
    assert table["init_stripe_index"][0] == pytest.approx((14 / 9) / (14 / 9 + 0.01**2))
    own, control, other = network_rows(table)
    assert (own["network"], control["network"], other["network"]) == ("A", "A, control init", "B")
    assert control["η²"] == ">0.999 [>0.999, >0.999]"
    assert (control["sites"], control["verdicts"]) == (1, "network: 1 further")
    assert [row["controls"] for row in site_rows(table)] == ["init 0.4 further", "–"]
    assert any("the same network at initialisation (init)" in note for note in comparison_notes(table))


@pytest.mark.parametrize(
    ("sources", "weights", "names"),
    [
        (["runs/a/capture.h5", "runs/b/capture.h5"], ["", ""], ["net, a", "net, b"]),
        (["one.h5", "two.h5"], ["pretrained", "random (seed 0)"], ["net, one", "net (random weights)"]),
        (["x/one.h5", "y/one.h5"], ["", ""], ["net, x/one", "net, y/one"]),
        (["one.h5", "one.h5"], ["", ""], ["net, one, 1", "net, one, 2"]),
        (["a/seed-0/capture.h5", "b/seed-0/capture.h5"], ["", ""], ["net, a/seed-0", "net, b/seed-0"]),
        (["", ""], ["", ""], ["net, 1", "net, 2"]),
    ],
)
def test_names_tell_networks_apart(sources: list[str], weights: list[str], names: list[str]) -> None:
    captures = [capture({"a": 0.1}, source, weights=w) for source, w in zip(sources, weights, strict=True)]
    assert compare(captures, resamples=10).attrs["networks"] == names


def test_other_images_are_said() -> None:
    table = compare([capture({"a": 0.1}), capture({"a": 0.1}, data="cifar10")], resamples=10)
    assert not table.attrs["same_images"]


def test_one_capture_is_no_comparison() -> None:
    with pytest.raises(StripeError, match="two captures or more"):
        compare([capture({"a": 0.1})])


def test_what_is_unknown_is_compared_with_nothing():
    """A new network whose maps are 0 is no constant of which one could say that training moved away from it."""
    new = capture({"a": 0.0}, weights="random (seed 0)")
    new["sites/a/input"] = new["sites/a/attention"] * 0
    table = compare({"trained": capture({"a": 2.0}), "new": new})
    assert table["category"].tolist() == ["input-dependent", "unknown"]
    assert table["against"].tolist() == ["", "unknown"]
    assert any("new: nothing is known where its map is 0" in note for note in comparison_notes(table))
