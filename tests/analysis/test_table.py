import json

import numpy as np
import pandas as pd
import pytest

from stripe.analysis import metrics, save_table
from stripe.errors import StripeError
from stripe.provenance import provenance


@pytest.fixture
def table(rng, make_site, make_capture) -> pd.DataFrame:
    return metrics(make_capture({"se#2": make_site(rng.random((2, 5, 3)).astype(np.float32))}), tolerance=0.02)


def assert_provenance(found: dict) -> None:
    assert found["stripe"] == provenance()["stripe"]
    assert {"command", "created", "tolerance"} <= found.keys()
    assert found["tolerance"] == 0.02


def test_csv_is_a_plain_table_with_its_provenance_beside_it(table, tmp_path):
    written = save_table(table, tmp_path / "metrics.csv")
    assert written == [tmp_path / "metrics.csv", tmp_path / "metrics.csv.json"]
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "metrics.csv"), table)
    assert_provenance(json.loads((tmp_path / "metrics.csv.json").read_text()))


def test_parquet_carries_its_provenance(table, tmp_path):
    save_table(table, tmp_path / "metrics.parquet")
    found = pd.read_parquet(tmp_path / "metrics.parquet")
    pd.testing.assert_frame_equal(found, table)
    assert_provenance(found.attrs)
    assert table.attrs == {"tolerance": 0.02}  # untouched


def test_json_has_records_and_provenance(table, tmp_path):
    save_table(table, tmp_path / "metrics.json")
    found = json.loads((tmp_path / "metrics.json").read_text())
    assert_provenance(found["provenance"])
    assert found["metrics"][0]["site"] == "se#2"
    assert found["metrics"][0]["input_dependent"] is True
    assert found["metrics"][0]["diff_mean"] is None  # NaN has no JSON
    pd.testing.assert_frame_equal(pd.DataFrame(found["metrics"]).astype(table.dtypes), table)


def test_other_formats_are_refused(table, tmp_path):
    with pytest.raises(StripeError, match=r"as \.csv, \.parquet or \.json, not as 'metrics\.xlsx'"):
        save_table(table, tmp_path / "metrics.xlsx")


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".json"])
def test_nowhere_to_write(table, tmp_path, suffix):
    (tmp_path / "nowhere").touch()  # a file, in which there can be none
    with pytest.raises(StripeError, match=r"nowhere.* cannot be written"):
        save_table(table, tmp_path / "nowhere" / f"metrics{suffix}")


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".json"])
def test_a_failed_write_leaves_the_old_file(table, tmp_path, suffix, monkeypatch):
    path = tmp_path / f"metrics{suffix}"
    path.write_text("old")

    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(StripeError, match="No space left"):
        save_table(table, path)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
