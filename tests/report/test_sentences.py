import pandas as pd
import pytest

from stripe.report.sentences import headline


@pytest.mark.parametrize(
    ("categories", "first"),
    [
        (["constant", "nearly constant"], "Attention is a constant, or nearly one, at every site."),
        (["nearly constant"], "Attention is nearly a constant."),
        (["constant"], "Attention is a constant."),
        (["nearly constant", "striped", "input-dependent"], "Attention is a constant, or nearly one, at 1 of 3 sites."),
        (["striped", "input-dependent"], "Attention is not a constant at any site."),
        (["input-dependent"], "Attention is not a constant."),
        (["input-dependent", "unknown"], "Attention is not a constant at any site that could be judged."),
        (["undecided", "striped"], "Attention is not a constant at any site that could be judged."),
        (["unknown", "undecided"], "Whether attention depends on the image cannot be told from this capture."),
        (["unknown", "unknown"], "Whether attention depends on the image cannot be told from this capture."),
    ],
)
def test_the_first_sentence(categories, first):
    assert headline(pd.DataFrame({"category": categories, "epoch": 7}))[0] == first


def test_the_second_counts():
    categories = ["input-dependent", "nearly constant", "input-dependent"]
    assert headline(pd.DataFrame({"category": categories, "epoch": 7}))[1] == (
        "Of 3 sites at epoch 7: 1 nearly constant (its mean over images is at most 5 % off); "
        "2 input-dependent (differs from image to image). No control was recorded, and the attention of an untrained "
        "network looks like a constant, too."
    )


def test_beside_a_control_nothing_is_said_of_one_that_lacks():
    judged = pd.DataFrame({"category": ["nearly constant"], "epoch": 7, "against_init": "nearer"})
    assert headline(judged)[1].endswith("(its mean over images is at most 5 % off).")
