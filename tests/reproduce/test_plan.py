from dataclasses import replace

import pytest

from stripe.errors import StripeError
from stripe.reproduce import Changes, Plan, find, read, read_scale, recipes
from tests.reproduce.conftest import DATA, RECIPE


@pytest.mark.parametrize("scale", ["quick", "paper"])
@pytest.mark.parametrize("name", list(recipes()))
def test_every_recipe_can_be_planned(name, scale):
    (recipe,) = find([name])
    plan = Plan.make(recipe, scale)
    assert bool(plan.cells) != bool(recipe.missing)
    if scale == "paper":
        assert plan.instead == plan.left_out == ()
    elif plan.cells:
        assert all(request.data.partition(":")[0] in ("shapes", "scenes") for request in plan.requests)
        assert all(request.epochs <= 12 and request.images_per_epoch for request in plan.requests)


def request_of(name, scale="paper", **changes):
    (recipe,) = find([name])
    return Plan.make(recipe, scale, Changes(**changes)).requests[0]


def test_the_paper_s_scale_is_the_paper_s():
    """Table 10: ResNet83, 164 epochs, ×.1 at 81/122, weight decay 1e-4, batch 128, and 16 on STL10."""
    first = request_of("fig12")
    assert (first.model, first.attention, first.data, first.capture) == ("resnet83", "se", "cifar100", 500)
    assert (first.epochs, first.recipe.milestones, first.recipe.weight_decay) == (164, (81, 122), 1e-4)
    assert (first.recipe.batch_size, first.images_per_epoch, first.train_images) == (128, None, None)
    assert first.select == "test"
    assert request_of("fig15").recipe.batch_size == 16
    assert request_of("fig16").recipe.schedule == "cosine"
    assert [request_of(f"fig{n}").recipe.weight_decay for n in (17, 18, 19)] == [2e-4, 3e-4, 4e-4]
    assert request_of("fig13").model == request_of("fig24").model == "resnet164"
    assert request_of("fig14").attention == "ie"
    assert (request_of("fig30").attention, request_of("fig30").data) == ("cbam", "stl10")
    published = request_of("fig1a")
    assert (published.model, published.data, published.recipe) == ("timm:seresnet50", "imagenet", None)
    assert request_of("fig1c").recipe.milestones == (30, 60, 90)


@pytest.mark.parametrize("scale", ["quick", "paper"])
def test_figures_share_runs(scale):
    assert request_of("fig12", scale) == request_of("fig23", scale)
    assert request_of("fig13", scale) == request_of("fig24", scale)
    assert request_of("fig15", scale) == request_of("fig26", scale)
    assert request_of("fig12", scale) != request_of("fig17", scale)


def test_at_the_quick_scale_figure_1_is_drawn_from_figure_12_s_run():
    assert {request_of(name, "quick") for name in ("fig1a", "fig1b", "fig1c")} == {request_of("fig12", "quick")}


def test_tables_have_seeds_and_no_capture():
    (recipe,) = find(["table7"])
    plan = Plan.make(recipe, "paper")
    assert len(plan.requests) == 4 * 4 * 3
    assert {request.seed for request in plan.requests} == {0, 1, 2}
    assert {request.capture for request in plan.requests} == {0}
    first = plan.cells[1].requests[0]
    assert (first.mode, first.attention, first.copies) == ("asr", "se", 2)


def test_table_14_takes_the_runs_of_table_7():
    both = [Plan.make(recipe, "paper").requests for recipe in find(["table7", "table14"])]
    assert set(both[0]) == set(both[1])


def test_table_9_has_its_noise_and_table_8_its_psi():
    noisy = Plan.make(find(["table9"])[0], "paper").requests
    assert {request.noise for request in noisy} == {(1, 0), (0.8, 0.8), (0.8, 0.5), (0.5, 0.5), (0.5, 0.2)}
    fixed = Plan.make(find(["table8"])[0], "paper").requests
    assert {(request.psi, request.psi_fixed) for request in fixed} == {
        (None, False), *((psi, True) for psi in ("C0.1", "C0.3", "C0.5", "N0.1", "N0.3", "N0.5"))
    }  # fmt: skip


def test_what_stands_for_what_is_said(write):
    plan = Plan.make(find(["fig12"])[0], "quick")
    assert plan.instead == (("resnet20", "resnet83"), ("shapes", "cifar100"))
    changed = Plan.make(find(["fig12"])[0], "paper", Changes(data=DATA, model="resnet29", epochs=3, seeds=2))
    assert changed.instead == (("resnet29", "resnet83"), (DATA, "cifar100"))
    first = changed.requests[0]
    assert (len(changed.requests), first.epochs, first.recipe.milestones) == (1, 3, (1, 2))  # a picture shows one run
    assert len(Plan.make(find(["table8"])[0], "quick", Changes(seeds=2)).requests) == 2 * 14


def test_precision_reaches_the_runs():
    assert request_of("fig12", precision="bfloat16").precision == "bfloat16"


def test_columns_of_one_data_set_are_shown_once():
    """At the quick scale one data set stands for three: the last column is kept."""
    plan = Plan.make(find(["table3"])[0], "quick")
    assert plan.left_out == ("STL10", "CIFAR100")
    assert {cell.column.name for cell in plan.cells} == {"CIFAR10"}
    assert [cell.paper for cell in plan.cells[:2]] == [92.97, 94.47]


def test_rows_of_one_network_are_shown_once():
    plan = Plan.make(find(["table4"])[0], "quick")
    assert {cell.row.group for cell in plan.cells} == {"ResNet83"}
    assert "ResNet164 SE" in plan.left_out


def test_one_model_for_a_comparison_of_several_is_refused():
    with pytest.raises(StripeError, match=r"table3 compares mobilenet, .*model="):
        Plan.make(find(["table3"])[0], "quick", Changes(model="resnet11"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('mode = "asr"', 'mode = "attention"', r"mine\.toml: copies: a setting of ASR"),
        ('mode = "asr"', 'schedule = "linear"', r"mine\.toml: schedule='linear' is out of range"),
        ('model = "resnet11"', "", r"mine\.toml: no 'model' is said"),
    ],
)
def test_settings_that_make_no_sense_name_the_file(write, old, new, message):
    with pytest.raises(StripeError, match=message):
        Plan.make(read(write("mine", RECIPE.replace(old, new))), "quick")


def test_differences_need_two_epochs():
    (recipe,) = find(["fig12"])
    with pytest.raises(StripeError, match="fig12 shows differences from epoch to epoch: give epochs=2 or more"):
        Plan.make(recipe, "quick", Changes(epochs=1))


def test_a_scale_that_is_none():
    with pytest.raises(StripeError, match="no scale 'large'; there are quick, paper"):
        read_scale("large")


def test_tables_are_trained_shorter():
    figure, table = read_scale("quick"), read_scale("quick", table=True)
    assert table.epochs < figure.epochs
    assert table.models["resnet164"] != figure.models["resnet164"]
    assert table.models["repvgg_b3"] == figure.models["repvgg_b3"]
    assert replace(table, models={}, epochs=0, images_per_epoch=0) == replace(
        figure, models={}, epochs=0, images_per_epoch=0
    )
