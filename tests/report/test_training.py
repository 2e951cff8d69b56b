import pytest

from stripe.errors import StripeError
from stripe.report.training import curves, results, settings_rows
from stripe.training import EpochMetrics, Run


def test_the_curves_of_a_run(make_run):
    (curve,) = curves([Run(make_run())])
    assert curve["name"] == "run"
    assert curve["epoch"] == [1, 2, 3]
    assert curve["test_accuracy"] == [31, 33.5, 32]
    assert curve["val_accuracy"] == [29, 28, 27]
    assert curve["drops"] == [2.5]  # .1, .1, .01


def test_how_a_training_ended(make_run):
    assert results([Run(make_run())]) == [
        "Test accuracy 31.00 % at the best epoch (1, chosen by the held-out training images) "
        "and 32.00 % after the last (3)."
    ]


def test_chosen_by_the_test_split(make_run):
    (sentence,) = results([Run(make_run(select="test"))])
    assert "33.50 % at the best epoch (2, chosen by the test split itself)" in sentence


def test_an_unfinished_run_says_so(make_run):
    (sentence,) = results([Run(make_run(finished=2, planned=12))])
    assert sentence.startswith("Unfinished, 2 of 12 epochs. Test accuracy")


def test_a_run_that_has_only_begun(make_run):
    run = Run(make_run(finished=0))
    assert results([run]) == ["No epoch has finished yet."]
    assert curves([run]) == []


def test_a_loss_that_is_nan(make_run):
    run = Run(make_run(train_loss=float("nan")))
    assert results([run])[-1] == "Beware: the training loss became NaN or infinite."
    assert curves([run])[0]["train_loss"] == [None] * 3


def test_several_seeds(make_run):
    lengths = ((3, 3), (2, 2), (2, 3), (0, 3))
    runs = [
        Run(make_run(f"seed-{seed}", finished=done, planned=planned, seed=seed))
        for seed, (done, planned) in enumerate(lengths)
    ]
    sentences = results(runs)
    assert [sentence.split(":")[0] for sentence in sentences[:4]] == ["seed-0", "seed-1", "seed-2", "seed-3"]
    assert "Unfinished" in sentences[2]
    # 31 and 31; 32 and 33.5, whose sample standard deviation is 1.5 / √2.
    assert sentences[4] == (
        "Over 2 finished seeds, mean ± standard deviation: 31.00 ± 0.00 % at the best epoch, "
        "32.75 ± 1.06 % after the last."
    )
    assert dict(settings_rows(runs))["seed"] == "0, 1, 2, 3"


def test_settings_have_units_and_no_folder_of_somebodys_disk(make_run):
    rows = dict(settings_rows([Run(make_run(precision=None, pretrained=False, images_per_epoch=1024))]))
    assert rows["image_size"] == "32 px"
    assert rows["images_per_epoch"] == "1,024 images"
    assert rows["recipe.batch_size"] == "128 images"
    assert rows["recipe.lr"] == "0.1"
    assert rows["data"] == "folder photos"
    assert rows["classes"] == "2: cat, dog"
    assert (rows["precision"], rows["pretrained"]) == ("–", "no")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("epoch,train_loss\n1,2\n", "lacks the columns images_per_second, learning_rate, seconds, test_accuracy"),
        (f"{','.join(EpochMetrics._fields)}\n1,fast,1,1,1,1,1,1,1,1\n", "can't be read: could not convert"),
        ('epoch,train_loss\n1,"2\n', "can't be read"),
    ],
)
def test_metrics_that_were_damaged(make_run, content, message):
    path = make_run()
    (path / "metrics.csv").write_text(content)
    with pytest.raises(StripeError, match=message):
        curves([Run(path)])
