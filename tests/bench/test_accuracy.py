import math

import pytest

from stripe.bench import add_accuracy
from stripe.errors import StripeError

SE = {"attention": "se"}


def test_accuracies_by_network(table, make_run) -> None:
    runs = [
        make_run(50, 70, 60, name="plain"),
        make_run(71, 20, name="se", attention="se"),
        make_run(10, 80, 70, name="asr", asr=SE),
        make_run(10, 86, 72, name="asr", asr=SE, seed=1),
    ]
    result = add_accuracy(table, runs)
    # Fusing changes no output; seeds 80 and 86 have the mean 83 and the standard deviation √(2·3²/1).
    assert result["accuracy"].tolist() == [70, 71, 83, 83]
    assert result["last_accuracy"].tolist() == [60, 20, 71, 71]
    assert result["runs"].tolist() == [1, 1, 2, 2]
    spread = result["accuracy_std"].tolist()
    assert all(map(math.isnan, spread[:2]))
    assert spread[2:] == pytest.approx([math.sqrt(18)] * 2)
    assert result.attrs["processor"] == "an abacus"
    data, selected, scale = result.attrs["accuracy_of"]
    assert (data, scale) == ("cifar10", "3 epochs of 10 images")
    assert "by that split itself" in selected
    assert "accuracy" not in table


def test_the_best_epoch_is_that_of_the_held_out_images(table, make_run) -> None:
    result = add_accuracy(table, [make_run(50, 70, 60, val=[40, 30, 45])])
    assert result["accuracy"][0] == 60
    assert "held-out" in result.attrs["accuracy_of"][1]


def test_networks_without_a_run(table, make_run) -> None:
    result = add_accuracy(table, [make_run(70, attention="se")])
    assert result["accuracy"].isna().tolist() == [True, False, True, True]
    assert result["runs"].tolist() == [0, 1, 0, 0]


def test_runs_that_are_no_comparison(table, make_run) -> None:
    plain = make_run(70, name="plain")
    with pytest.raises(StripeError, match="cifar10, cifar100"):
        add_accuracy(table, [plain, make_run(70, name="a", attention="se", data="cifar100")])
    with pytest.raises(StripeError, match=r"seed-0 trained resnet83 in another way"):
        add_accuracy(table, [plain, make_run(70, name="b", lr=0.2)])
    with pytest.raises(StripeError, match=r"trained resnet83\+ie, which is not in the table"):
        add_accuracy(table, [make_run(70, name="c", attention="ie")])
    with pytest.raises(StripeError, match="no epoch has ended yet"):
        add_accuracy(table, [make_run(name="d")])
