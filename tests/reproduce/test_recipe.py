import inspect
import math

import pytest

from stripe import plots
from stripe.errors import StripeError
from stripe.plots.comparison import comparison
from stripe.reproduce import Plan, find, read, recipes
from stripe.reproduce.recipe import CAPTURE_KINDS, OPTIONS
from tests.reproduce.conftest import FIGURE, RECIPE, TINY


def test_a_table_of_rows_and_columns(write):
    recipe = read(write("mine", RECIPE))
    assert (recipe.name, recipe.title, recipe.draw.kind) == ("mine", "Two networks", "table")
    assert [column.settings for column in recipe.columns] == [{}, {"copies": 2}]
    assert recipe.rows[1].paper == (74.0, 73.5)
    assert math.isnan(recipe.rows[0].paper[1])
    assert recipe.is_table


def test_a_figure_has_one_run_without_a_name(write):
    recipe = read(write("picture", FIGURE))
    assert [(row.name, column.name) for row in recipe.rows for column in recipe.columns] == [("", "")]
    assert recipe.draw.options == {"images": 2, "channels": 3}
    assert not recipe.is_table


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "Two networks"', "", "mine.toml: 'title' is missing"),
        ('title = "Two networks"', "title = 3", "mine.toml: title = 3 is not a text"),
        ('claim = "They learn."', 'clam = "x"', "mine.toml: unknown key 'clam'; did you mean claim"),
        ('mode = "asr"', 'modus = "asr"', "mine.toml: [run]: unknown key 'modus'; did you mean mode"),
        ('mode = "asr"', "copies = true", "mine.toml: [run]: copies = True is not a whole number"),
        ("copies = 2", "copies = 2.5", "mine.toml: columns 2: copies = 2.5 is not a whole number"),
        ("copies = 2", 'metric = "speeed"', "mine.toml: columns 2 measures 'speeed'; there are accuracy"),
        ("[74, 73.5]", "[74]", "mine.toml: rows 2: 'paper' holds one number for each of the 2 columns"),
        ("[74, 73.5]", "[74, true]", "mine.toml: rows 2: 'paper' holds one number"),
        ('name = "IE", ', "", "mine.toml: rows 2: 'name' is missing"),
        ("copies = 2", "noise = [1]", "mine.toml: columns 2: noise = [1] is not two numbers"),
        ('"table"', '"tabel"', "mine.toml: [draw] is of kind 'tabel'; did you mean table?"),
        ('"table"', '"table"\nimages = 3', "mine.toml: [draw] of kind 'table' has no 'images'; it takes lines"),
        ('"table"', '"diff"', "a picture of kind 'diff' shows one run"),
        ("[draw]", "[draw", "mine.toml is not written in TOML: "),
    ],
)
def test_what_is_wrong_is_said_with_file_and_key(write, old, new, message):
    assert old in RECIPE
    with pytest.raises(StripeError) as error:
        read(write("mine", RECIPE.replace(old, new)))
    assert message in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(StripeError, match="cannot be read: No such file"):
        read(tmp_path / "none.toml")


def test_what_the_plots_take_is_what_a_recipe_may_say():
    for kind, options in CAPTURE_KINDS.items():
        assert set(options) == set(inspect.signature(plots.KINDS[kind]).parameters) - {"capture", "captures", "style"}
    assert set(OPTIONS["table"]) < set(inspect.signature(comparison).parameters)


def test_every_recipe_can_be_read_and_the_issue_s_list_is_complete():
    numbers = ["1a", "1b", "1c", 3, 4, 5, 6, *range(12, 20), *range(20, 30), 30]
    tables = [1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 14]
    mine = [name for name, path in recipes().items() if path.parent.name == "asr"]
    assert mine == [*(f"fig{n}" for n in numbers), *(f"table{n}" for n in tables)]
    unfinished = [recipe.name for recipe in map(read, recipes().values()) if recipe.missing]
    others = ["search/table1", "search/table2", "search/table3", "search/table4"]
    others += ["spsa/fig3", "spsa/table1", "spsa/table2", "spsa/table3", "spsa/table4"]
    assert list(recipes())[len(mine) :] == others
    assert unfinished == []


def test_names(write):
    assert [recipe.name for recipe in find(["fig1", "table7", "fig1a"])] == ["fig1a", "fig1b", "fig1c", "table7"]
    assert [recipe.name for recipe in find(["asr/fig1", "asr/table7", "table7"])] == [
        "fig1a", "fig1b", "fig1c", "table7"
    ]  # fmt: skip
    assert len(find(["all"])) == len(recipes()) == len(find(["asr", "search", "spsa"]))
    assert find([str(write("mine", RECIPE))])[0].title == "Two networks"


def test_a_recipe_knows_its_paper(write):
    """Those of the first paper keep the names that they had before there were others."""
    assert {recipe.paper for recipe in find(["asr"])} == {"asr"}
    assert all("/" not in recipe.name for recipe in find(["asr"]))
    own = read(write("mine", RECIPE))
    assert (own.name, own.stem, own.paper) == ("mine", "mine", "")


def test_a_folder_of_one_s_own_may_have_the_name_of_a_paper(tmp_path):
    (tmp_path / "spsa").mkdir()
    path = tmp_path / "spsa" / "mine.toml"
    path.write_text(RECIPE)
    assert (read(path).name, read(path).paper) == ("mine", "")


@pytest.mark.parametrize(
    ("name", "message"), [("tabel7", "no recipe 'tabel7'; did you mean table7"), ("fig99x", "`stripe reproduce list`")]
)
def test_a_name_that_is_none(name, message):
    with pytest.raises(StripeError, match=message):
        find([name])


def test_a_recipe_of_one_s_own_may_not_write_over_another(write):
    with pytest.raises(StripeError, match="Two recipes are called fig12"):
        find(["fig12", str(write("fig12", FIGURE))])


@pytest.mark.parametrize(("said", "size"), [('"48x192"', (48, 192)), ('"16x16"', 16), ("24", 24)])
def test_images_need_not_be_square(write, cache, said, size):
    recipe = read(write("oblong", FIGURE.replace("image_size = 16", f"image_size = {said}")))
    (planned,) = cache.plan(Plan.make(recipe, "quick", TINY).requests).values()
    assert planned.request.image_size == planned.found.image_size == size


@pytest.mark.parametrize("said", ['"48 by 192"', '"0x16"', "[48, 192]"])
def test_what_is_no_image_size_is_said_with_the_file(write, said):
    with pytest.raises(StripeError, match=r"oblong\.toml: \[run\]: image_size"):
        read(write("oblong", FIGURE.replace("image_size = 16", f"image_size = {said}")))
