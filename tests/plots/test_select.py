import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from stripe.capture import as_capture
from stripe.errors import StripeError
from stripe.plots.select import NothingToDrawError, choose, choose_epoch, choose_sites


def names(selected):
    return list(selected)


def test_sites_come_in_the_order_of_the_forward_pass(make_tree, make_site):
    values = np.zeros((1, 2, 3))
    order = {"b": 1, "a": 0, "c": 2}
    tree = make_tree({name: make_site(values, order=place) for name, place in order.items()}, [0], 2)
    assert names(as_capture(tree).sites) == ["a", "b", "c"]


def test_a_default_choice_is_spread_over_the_depth(capture):
    assert names(choose_sites(capture, None, ["channel"], 3)) == [
        f"layer{stage}.attention_module" for stage in ("1.0", "2.1", "3.2")
    ]
    assert names(choose_sites(capture, None, ["channel"], 1)) == ["layer2.1.attention_module"]
    assert len(choose_sites(capture, None, ["channel"])) == 9


def test_globs_are_united_and_keep_the_networks_order(capture):
    chosen = choose_sites(capture, ["layer3.1.*", "layer1.?.attention_module"], ["channel"], 1)
    assert names(chosen) == [f"layer{block}.attention_module" for block in ("1.0", "1.1", "1.2", "3.1")]


def test_an_exact_name_is_no_glob(make_tree, make_site):
    values = np.zeros((1, 2, 3))
    tree = make_tree({"a[0]": make_site(values), "a0": make_site(values, order=1)}, [0], 2)
    assert names(choose_sites(tree, "a[0]", ["channel"])) == ["a[0]"]


def test_an_unknown_site_is_answered_with_close_names(capture):
    with pytest.raises(StripeError, match=r"layer1\.0\.atention.*layer1\.0\.attention_module"):
        choose_sites(capture, "layer1.0.atention_module", ["channel"])


def test_the_wrong_kind_of_site_is_one_sentence(cbam, capture):
    with pytest.raises(NothingToDrawError, match=r"no spatial attention site.*the capture holds: channel"):
        choose_sites(capture, None, ["spatial"])
    with pytest.raises(NothingToDrawError, match="those named are: spatial"):
        choose_sites(cbam, "*#2", ["channel"])


def test_constants_are_drawn_only_when_named_or_alone(make_tree, make_site):
    values = np.zeros((1, 2, 3))
    constant, gate = make_site(values, input_dependent=0), make_site(values, order=1)
    tree = make_tree({"scale": constant, "se": gate}, [0], 2)
    assert names(choose_sites(tree, None, ["channel"])) == ["se"]
    assert names(choose_sites(tree, "scale", ["channel"])) == ["scale"]
    assert names(choose_sites(make_tree({"scale": constant}, [0], 2), None, ["channel"])) == ["scale"]


def test_a_tree_without_sites_is_no_capture():
    with pytest.raises(StripeError, match="not a capture"):
        choose_sites(xr.DataTree(), None, ["channel"])


def test_a_path_that_is_no_capture(tmp_path):
    with pytest.raises(StripeError, match="no file"):
        as_capture(tmp_path / "missing.h5")


@given(count=st.integers(1, 50), available=st.integers(1, 50), seed=st.integers(0, 2**32))
def test_a_sample_is_ascending_distinct_and_repeatable(count, available, seed):
    ids = np.arange(available) * 3
    chosen = choose(count, ids, what="channel", seed=seed)
    assert len(chosen) == min(count, available)
    assert (np.diff(chosen) > 0).all()
    assert chosen.min() >= 0
    assert chosen.max() < available
    np.testing.assert_array_equal(chosen, choose(count, ids, what="channel", seed=seed))


def test_seeds_and_kinds_of_things_give_different_samples():
    ids = np.arange(100)
    samples = [tuple(choose(10, ids, what=w, seed=s)) for w in ("image", "channel") for s in (0, 1)]
    assert len(set(samples)) == 4


@given(seed=st.integers(0, 1000), count=st.integers(1, 40))
def test_a_sample_of_images_is_balanced_over_the_classes(seed, count):
    classes = np.array([0] * 20 + [1] * 15 + [2] * 15)
    chosen = choose(count, np.arange(50), what="image", seed=seed, classes=classes)
    sizes = np.bincount(classes[chosen], minlength=3)
    assert sizes.max() - sizes.min() <= 1


def test_listed_ids_keep_their_order_and_are_looked_up_by_value():
    np.testing.assert_array_equal(choose([30, 10], np.array([10, 20, 30]), what="image", seed=0), [2, 0])


@pytest.mark.parametrize(
    ("wanted", "message"),
    [([7], r"No such image: 7\. There are 3, from 0 to 2"), ([], "none named"), (0, "At least 1")],
)
def test_a_choice_that_cannot_be_met(wanted, message):
    with pytest.raises(StripeError, match=message):
        choose(wanted, np.arange(3), what="image", seed=0)


def test_epochs(capture):
    assert choose_epoch(capture, None) == 6
    assert choose_epoch(capture, 2) == 2
    with pytest.raises(StripeError, match=r"does not hold epoch 99\. It holds 1, 2, 3, 4, 5, 6"):
        choose_epoch(capture, 99)
