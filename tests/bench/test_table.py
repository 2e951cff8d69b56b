import pytest

from stripe.analysis import save_table
from stripe.bench import read_table
from stripe.errors import StripeError


@pytest.mark.parametrize("suffix", ["csv", "parquet", "json"])
def test_what_was_written_is_read(table, tmp_path, suffix) -> None:
    path = tmp_path / f"speed.{suffix}"
    save_table(table, path)
    read = read_table(path)
    assert read.to_dict("list") == table.to_dict("list")
    assert read.attrs["processor"] == "an abacus"
    assert read.attrs["repeats"] == 3
    assert "created" in read.attrs


def test_a_table_alone(table, tmp_path) -> None:
    table.to_csv(tmp_path / "speed.csv", index=False)
    assert read_table(tmp_path / "speed.csv").attrs == {}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "x,y\n1,2\n", "no table of speeds .*`stripe bench -o table.csv` makes one"),
        ("a.csv", "", "is no table, or is damaged"),
        ("a.json", "{", "is no table, or is damaged"),
        ("a.json", "[1]", "is no table, or is damaged"),
        ("a.parquet", "no parquet", "is no table, or is damaged"),
        ("a.txt", "", "no table of speeds"),
    ],
)
def test_something_else(tmp_path, name, content, message) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(StripeError, match=message):
        read_table(tmp_path / name)


def test_no_file(tmp_path) -> None:
    with pytest.raises(StripeError, match="cannot be read: No such file"):
        read_table(tmp_path / "none.csv")
