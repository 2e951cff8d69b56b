"""What is chosen by the weights of a search, against tables 3 and 4 of the report."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from stripe.attention import attention_factory
from stripe.attention.search import OPERATIONS
from stripe.errors import StripeError
from stripe.tasks import structure
from stripe.tasks.structure import (
    CHOICES,
    UNDECIDED,
    agreement,
    attention_of,
    choices,
    choose,
    controls,
    decide,
    decisions,
    read,
    unanimous,
    write,
)

SSCBAM = {  # table 3
    (4.7375e-04, 4.4295e-01, 5.5134e-01, 2.0592e-03, 3.1687e-03): "sa>ca",
    (1.5267e-04, 4.1338e-01, 5.8425e-01, 7.1946e-04, 1.4979e-03): "sa>ca",
    (1.4487e-04, 2.9350e-01, 7.0241e-01, 5.5964e-04, 3.3896e-03): "sa>ca",
    (3.0173e-04, 3.4739e-01, 6.4989e-01, 1.3028e-03, 1.1119e-03): "sa>ca",
    (3.8662e-04, 4.1580e-01, 5.1593e-01, 8.8905e-04, 6.6994e-02): "sa>ca",
    (3.4632e-04, 5.1557e-01, 4.8145e-01, 1.0539e-03, 1.5781e-03): "ca>sa",
    (7.9483e-05, 4.9560e-01, 5.0244e-01, 5.1867e-04, 1.3604e-03): "sa>ca",
    (6.4367e-05, 4.9740e-01, 5.0105e-01, 5.5208e-04, 9.3461e-04): "sa>ca",
}
SSMVAM = {  # table 4
    (1.1785e-03, 9.0141e-01, 8.1482e-02, 1.4495e-02, 1.4338e-03): "ca>sa",
    # The report has these two the other way round, against its own numbers.
    (5.8767e-04, 3.1331e-01, 6.7345e-01, 9.8350e-03, 2.8173e-03): "sa>ca",
    (0.0071, 0.4613, 0.4444, 0.0653, 0.0218): "ca>sa",
    (0.0028, 0.3896, 0.5789, 0.0128, 0.0160): "sa>ca",
    (0.0208, 0.2131, 0.6099, 0.0522, 0.1041): "sa>ca",
    (0.0054, 0.4769, 0.4700, 0.0235, 0.0243): "ca>sa",
    (7.8822e-03, 1.9313e-02, 3.3015e-01, 6.8491e-03, 6.3580e-01): "sa",
    (8.3575e-03, 3.1563e-04, 2.3673e-03, 4.5235e-04, 9.8851e-01): "sa",
}


@pytest.mark.parametrize(("weights", "operation"), [*SSCBAM.items(), *SSMVAM.items()])
def test_the_tables_of_the_report(weights: tuple[float, ...], operation: str) -> None:
    assert choose(weights) == operation


@pytest.mark.parametrize(
    ("weights", "choice"),
    [
        ((0.30, 0.10, 0.10, 0.22, 0.28), "ca|sa"),  # together above the identity, .06 apart
        ((0.30, 0.10, 0.10, 0.19, 0.31), "sa"),  # .12 apart
        ((0.52, 0.00, 0.00, 0.22, 0.26), "identity"),  # together below
        ((0.10, 0.45, 0.00, 0.22, 0.23), "ca>sa"),  # together .45, which does not exceed .45
        ((0.05, 0.40, 0.05, 0.25, 0.25), "ca|sa"),  # the largest alone, but less than both together
        ((0.20, 0.20, 0.20, 0.20, 0.20), "ca|sa"),  # so begins every search
        ((0.90, 0.025, 0.025, 0.025, 0.025), "identity"),
    ],
)
def test_channel_and_spatial_attention_in_parallel(weights: tuple[float, ...], choice: str) -> None:
    assert choose(weights) == choice


@pytest.mark.parametrize(
    ("weights", "decision"),
    [
        ((0.20, 0.20, 0.20, 0.20, 0.20), UNDECIDED),  # so begins every search
        ((0.19, 0.22, 0.19, 0.20, 0.20), UNDECIDED),  # and so it stands after a few steps
        ((0.00, 0.49, 0.51, 0.00, 0.00), UNDECIDED),  # one of the orders, but which?
        ((0.00, 0.44, 0.56, 0.00, 0.00), "sa>ca"),
        ((0.05, 0.05, 0.10, 0.40, 0.40), "ca|sa"),
        ((0.30, 0.10, 0.10, 0.22, 0.28), UNDECIDED),  # together .5, but the identity leads
        ((0.30, 0.10, 0.10, 0.19, 0.31), UNDECIDED),
        ((0.90, 0.025, 0.025, 0.025, 0.025), "identity"),
        ((0.05, 0.05, 0.05, 0.25, 0.60), "sa"),
    ],
)
def test_a_choice_is_decided_where_it_leads(weights: tuple[float, ...], decision: str) -> None:
    assert decide(weights) == decision


def alphas(*rows: tuple[float, ...]) -> dict[str, np.ndarray]:
    return {f"layer{number}.0.attention_module": np.log(row) for number, row in enumerate(rows, 1)}


def search(tmp_path: Path, *rows: tuple[float, ...], kernel_size: int = 7) -> xr.Dataset:
    write(tmp_path, 1, alphas(*rows), family="mvam", kernel_size=kernel_size)
    return read(tmp_path)


def weighed(*rows: tuple[float, ...]) -> xr.Dataset:
    """A search of one epoch, in memory."""
    dims = ("epoch", "block", "operation")
    return xr.Dataset({"weight": (dims, [rows])}, {"block": [f"layer{n}" for n in range(len(rows))]})


def test_the_file_holds_alpha_and_its_softmax(tmp_path: Path) -> None:
    write(tmp_path, 1, {"a": [0.0] * 5, "b": [1000.0, 0, 0, 0, 0]}, family="cbam", kernel_size=3)
    write(
        tmp_path, 2, {"a": np.log([1.0, 2.0, 3.0, 4.0, 10.0]), "b": [1000.0, 0, 0, 0, 0]}, family="cbam", kernel_size=3
    )
    with xr.open_dataset(tmp_path / "search.nc") as found:
        assert found["epoch"].values.tolist() == [1, 2]
        assert found["block"].values.tolist() == ["a", "b"]
        assert found["operation"].values.tolist() == list(OPERATIONS)
        np.testing.assert_allclose(found["weight"].sel(epoch=1, block="a"), 0.2)
        np.testing.assert_allclose(found["weight"].sel(epoch=2, block="a"), [0.05, 0.1, 0.15, 0.2, 0.5], rtol=1e-6)
        np.testing.assert_allclose(found["alpha"].sel(epoch=2, block="b"), [1000, 0, 0, 0, 0])
        assert found.attrs == {"family": "cbam", "kernel_size": 3}


def test_an_epoch_that_is_repeated_replaces_it_and_those_after(tmp_path: Path) -> None:
    for epoch in (1, 2, 3):
        write(tmp_path, epoch, {"a": [epoch, 0, 0, 0, 0]}, family="cbam", kernel_size=7)
    write(tmp_path, 2, {"a": [9, 0, 0, 0, 0]}, family="cbam", kernel_size=7)
    assert read(tmp_path)["alpha"].sel(operation="identity").values.tolist() == [[1], [9]]
    write(tmp_path, 1, {"a": [8, 0, 0, 0, 0]}, family="cbam", kernel_size=7)
    assert read(tmp_path)["alpha"].sel(operation="identity").values.tolist() == [[8]]


def test_a_search_of_another_network_is_not_continued(tmp_path: Path) -> None:
    write(tmp_path, 1, {"a": [0.0] * 5}, family="cbam", kernel_size=7)
    with pytest.raises(StripeError, match="of another network"):
        write(tmp_path, 2, {"b": [0.0] * 5}, family="cbam", kernel_size=7)


def test_what_was_found_is_a_list_of_names(tmp_path: Path) -> None:
    rows = [
        (0.9, 0.025, 0.025, 0.025, 0.025),
        (0.1, 0.6, 0.1, 0.1, 0.1),
        (0.1, 0.1, 0.1, 0.6, 0.1),
        (0.2, 0.2, 0.2, 0.2, 0.2),
    ]
    found = search(tmp_path / "7", *rows)
    assert list(choices(found).values()) == ["identity", "ca>sa", "ca", "ca|sa"]
    assert attention_of(found) == "none/mvam:ca>sa/mvam:ca/mvam:ca|sa"
    assert attention_of(search(tmp_path / "3", *rows, kernel_size=3)) == "none/mvam:ca>sa,k=3/mvam:ca/mvam:ca|sa,k=3"
    assert attention_of(found, ["identity"] * 4) == "none"
    assert attention_of(found, ["sa"] * 4) == "mvam:sa/mvam:sa/mvam:sa/mvam:sa"
    with pytest.raises(StripeError, match="has 3 choices, and the search 4 blocks"):
        attention_of(found, ["sa"] * 3)


@pytest.mark.parametrize(
    ("attention", "found"),
    [
        ("sscbam", "none/cbam:ca>sa/cbam:ca/cbam:sa"),
        ("sscbam,k=3/ssmvam/sscbam/ssmvam,k=3", "none/mvam:ca>sa/cbam:ca/mvam:sa,k=3"),
        ("sscbam+se", "se/cbam:ca>sa+se/cbam:ca+se/cbam:sa+se"),
        ("eca+ssmvam,k=3", "eca/eca+mvam:ca>sa,k=3/eca+mvam:ca/eca+mvam:sa,k=3"),
        (
            "none/sscbam/se,bias=no/sscbam+spsa/none/ssmvam/sscbam",
            "none/none/se,bias=no/cbam:ca>sa+spsa/none/mvam:ca/cbam:sa",
        ),
        ("sscbam+ssmvam", "mvam:ca>sa/cbam:ca+mvam:sa"),
    ],
)
def test_what_was_not_searched_stays_in_its_place(tmp_path: Path, attention: str, found: str) -> None:
    rows = [
        (0.9, 0.025, 0.025, 0.025, 0.025),
        *[tuple(0.6 if n == way else 0.1 for n in range(5)) for way in (1, 3, 4)],
    ]
    for epoch in (1, 2):
        write(tmp_path, epoch, alphas(*rows), family="cbam", kernel_size=7, attention=attention)
    searched = read(tmp_path)
    assert attention_of(searched) == found
    attention_factory(found)


def test_how_often_seeds_chose_the_same(tmp_path: Path) -> None:
    first, second = (0.6, 0.1, 0.1, 0.1, 0.1), (0.1, 0.6, 0.1, 0.1, 0.1)
    each = [
        search(tmp_path / str(n), *rows) for n, rows in enumerate([(first, first), (first, second), (first, second)])
    ]
    assert agreement(each) == {
        "layer1.0.attention_module": ("identity", 3),
        "layer2.0.attention_module": ("ca>sa", 2),
    }
    with pytest.raises(StripeError, match="different blocks"):
        agreement([each[0], search(tmp_path / "other", first)])


def test_agreement_is_of_what_is_decided_and_beside_chance() -> None:
    flat, first, second = (0.2,) * 5, (0.6, 0.1, 0.1, 0.1, 0.1), (0.1, 0.6, 0.1, 0.1, 0.1)
    same = [weighed(flat, flat) for _ in range(3)]
    assert list(decisions(same[0]).values()) == [UNDECIDED] * 2
    assert list(agreement(same).values()) == [(UNDECIDED, 0)] * 2
    assert unanimous(same) == (0, 0)
    one = [weighed(first, first, first, first) for _ in range(3)]
    assert unanimous(one) == (4, 4)  # in all blocks the same: nothing of one block or another
    # Halves of two choices: two seeds agree in ½, three in ¼ of the blocks by chance.
    rows = [(first, first, second, second), (first, first, second, second), (first, second, second, first)]
    mixed = [weighed(*each) for each in rows]
    assert unanimous(mixed[:2]) == (4, 2)
    assert unanimous(mixed) == (2, 1)
    partly = [weighed(*each) for each in [(first, flat), (flat, flat)]]
    assert list(agreement(partly).values()) == [("identity", 1), (UNDECIDED, 0)]
    assert unanimous(partly) == (0, 0)


def test_no_search_and_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(StripeError, match="holds no structure search that has finished an epoch"):
        read(tmp_path)
    (tmp_path / structure.FILE).write_bytes(b"nothing")
    with pytest.raises(StripeError, match=r"search\.nc cannot be read"):
        read(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda found: found.drop_vars("alpha"),
        lambda found: found.assign(weight=found["weight"] * np.nan),
        lambda found: found.transpose("block", "epoch", "operation"),
        lambda found: found.isel(operation=slice(4)),
        lambda found: found.assign_coords(operation=["a", "b", "c", "d", "e"]),
        lambda found: found.isel(epoch=slice(0)),
        lambda found: found.assign_attrs(family="se"),
        lambda found: found.assign_attrs(kernel_size="seven"),
        lambda found: found.assign_attrs(kernel_size=4),
        lambda found: found.assign_attrs(attention="se"),
        lambda found: found.assign_attrs(attention="sscbam/sscbam"),
    ],
)
def test_a_file_of_something_else(tmp_path: Path, damage: object) -> None:
    found = search(tmp_path, (0.2,) * 5)
    damage(found).to_netcdf(tmp_path / structure.FILE, engine="h5netcdf")  # type: ignore[operator]
    with pytest.raises(StripeError, match=r"search\.nc cannot be read"):
        read(tmp_path)


def test_controls_are_what_was_found_choices_at_random_and_each_in_all_blocks(tmp_path: Path) -> None:
    found = search(tmp_path, *[(0.1, 0.6, 0.1, 0.1, 0.1)] * 4, kernel_size=3)
    drawn = controls(found, 2, seed=1)
    assert list(drawn) == [
        "found",
        "random-1",
        "random-2",
        "all-identity",
        "all-ca-sa",
        "all-sa-ca",
        "all-ca",
        "all-sa",
        "all-ca-and-sa",
    ]
    assert drawn["found"] == ("found by the search", "/".join(["mvam:ca>sa,k=3"] * 4))
    assert drawn["all-identity"] == ("identity in all blocks", "none")
    assert drawn["all-ca-and-sa"] == ("CA, SA in all blocks", "/".join(["mvam:ca|sa,k=3"] * 4))
    assert drawn["random-1"] != drawn["random-2"]
    assert controls(found, 2, seed=1) == drawn
    assert controls(found, 2, seed=2)["random-1"] != drawn["random-1"]
    many = {
        name for kind, text in controls(found, 60, seed=0).values() if kind == "at random" for name in text.split("/")
    }
    assert many == {attention_of(found, [choice] * 4).split("/")[0] for choice in CHOICES}
    for _, text in drawn.values():
        attention_factory(text)  # each is a name
