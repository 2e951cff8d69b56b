import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stripe.report.budget import TEXT, Cut, SiteShape, block_mean, plan


def size(site, cut, epochs, differences, bits):
    """Bytes of what is shown of a site, counted anew: attention, std before and after, differences."""
    rows = math.ceil(site.images / cut.step)
    columns = math.prod(math.ceil(feature / cut.group) for feature in site.features)
    return epochs * rows * columns * bits // 8 + 2 * 2 * epochs * columns + 2 * differences * columns


def test_means_of_neighbours_by_hand():
    values = np.array([[1.0, 3.0, 5.0, 7.0, 10.0], [0.0, 0.0, 0.0, 2.0, 4.0]])
    assert block_mean(values, 2, [1]).tolist() == [[2.0, 6.0, 10.0], [0.0, 1.0, 4.0]]
    assert block_mean(values, 2, [0]).tolist() == [[0.5, 1.5, 2.5, 4.5, 7.0]]
    assert block_mean(values, 2, [0, 1]).tolist() == [[1.0, 3.5, 7.0]]
    assert block_mean(values, 9, [1]).tolist() == [[5.2], [1.2]]


def test_a_block_with_a_nan_has_no_mean():
    assert np.isnan(block_mean(np.array([1.0, np.nan, 3.0, 5.0]), 2, [0])).tolist() == [True, False]


def test_what_fits_is_shown_as_it_is():
    found = plan(12, [SiteShape(200, (64,)), SiteShape(200, (8, 8))])
    assert found.epochs.tolist() == list(range(12))
    assert found.cuts == (Cut(1, 1), Cut(1, 1))
    assert (found.bits, found.differences, found.thinned) == (16, 1, False)


def test_small_sites_stay_whole_beside_large_ones():
    small, large = SiteShape(1000, (16,)), SiteShape(1000, (2048,))
    found = plan(20, [small, large, large])
    assert found.cuts[0] == Cut()
    assert found.cuts[1] == found.cuts[2]
    assert min(found.cuts[1].step, found.cuts[1].group) > 1


def test_epochs_are_spread_from_the_first_to_the_last():
    found = plan(164, [SiteShape(1000, (2048,))] * 20)
    assert len(found.epochs) == 12
    assert (found.epochs[0], found.epochs[-1]) == (0, 163)
    assert set(np.diff(found.epochs)) <= {14, 15}
    assert found.differences == 3  # 163 differences in at most 64


@pytest.mark.parametrize("features", [(2048,), (112, 112)])
def test_a_cut_is_no_coarser_than_it_must_be(features):
    site = SiteShape(1000, features)
    found = plan(10, [site], budget=300_000 + TEXT)
    (cut,) = found.cuts
    assert size(site, cut, 10, 9, 8) <= 300_000
    assert size(site, Cut(max(cut.step - 1, 1), max(cut.group - 1, 1)), 10, 9, 8) > 300_000


@given(
    st.integers(1, 400),
    st.lists(
        st.builds(
            SiteShape,
            st.integers(1, 20_000),
            st.one_of(st.tuples(st.integers(1, 4096)), st.tuples(*[st.integers(1, 112)] * 2)),
        ),
        min_size=1,
        max_size=40,
    ),
)
def test_a_plan_always_fits(epochs, sites):
    budget = 500_000
    found = plan(epochs, sites, budget)
    differences = math.ceil((epochs - 1) / found.differences)
    shown = zip(sites, found.cuts, strict=True)
    assert sum(size(site, cut, len(found.epochs), differences, found.bits) for site, cut in shown) <= budget
    assert found.epochs[0] == 0
    assert found.epochs[-1] == epochs - 1
