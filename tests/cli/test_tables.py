import json
import math

import numpy as np

from stripe.cli.tables import print_records

RECORDS = [{"name": "layer1.0", "shape": (4, 8, 8), "constant_error": np.float64(0.123456), "last": math.nan}]


def test_json(capsys) -> None:
    print_records(RECORDS, "json")
    assert json.loads(capsys.readouterr().out) == [
        {"name": "layer1.0", "shape": [4, 8, 8], "constant_error": 0.123456, "last": None}
    ]


def test_table(capsys) -> None:
    print_records(RECORDS, "table", title="run.h5")
    out = capsys.readouterr().out
    for text in ("run.h5", "layer1.0", "4×8×8", "0.1235", "constant error", "–"):
        assert text in out


def test_no_records(capsys) -> None:
    print_records([], "json")
    assert json.loads(capsys.readouterr().out) == []
