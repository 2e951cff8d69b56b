import json
import math
import re
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

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


@pytest.fixture
def window(monkeypatch) -> Callable[[int], None]:
    """A terminal of so many columns."""
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TTY_COMPATIBLE", raising=False)
    return lambda width: monkeypatch.setenv("COLUMNS", str(width))


SITES = [
    {"name": f"layer3.{i}.attention_module", "shape": (1024, 14, 14), "input_dependent": True, "stripe_index": 0.9123}
    for i in range(2)
]


@pytest.mark.parametrize("width", [60, 80])
def test_names_stay_whole_in_a_narrow_window(width: int, capsys, window) -> None:
    window(width)
    print_records(SITES, "table", title="run.h5")
    lines = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= width
    for i in range(2):
        [line] = [line for line in lines if f"layer3.{i}.attention_module" in line]
        assert "1024×14×14" in line
        assert "0.9123" in line


@pytest.mark.parametrize("width", [20, 30, 40, 50])
def test_nothing_is_cut_off_however_narrow(width: int, capsys, window) -> None:
    window(width)
    print_records(SITES[:1], "table")
    lines = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= width
    shown = Counter("".join(lines))
    assert not Counter("layer3.0.attention_module1024×14×14yes0.9123") - shown
    assert not Counter("nameshapeinputdependentstripeindex") - shown


def test_sentences_break_before_names(capsys, window) -> None:
    window(40)
    print_records([{"name": "a_rather_long_name", "shows": "what it shows in " + 9 * "many words "}], "table")
    assert "a_rather_long_name what it shows in" in capsys.readouterr().out


def test_csv_keeps_the_digits_and_leaves_what_is_unknown_empty(capsys) -> None:
    print_records(RECORDS, "csv", title="run.h5")
    assert capsys.readouterr().out == "name,shape,constant_error,last\nlayer1.0,4×8×8,0.123456,\n"


def test_latex(capsys) -> None:
    print_records([{"a_b": "50 % of x_1 & y", "η²": ">0.999", "n": 3}], "tex", title="run.h5")
    assert capsys.readouterr().out.splitlines() == [
        "% run.h5",
        r"\begin{tabular}{@{}llr@{}}",
        r"\toprule",
        r"a b & $\eta^2$ & n \\",
        r"\midrule",
        r"50 \% of x\_1 \& y & $>$0.999 & 3 \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_brackets_are_no_markup(capsys) -> None:
    print_records([{"name": "[least, greatest]"}], "table", title="a [bold] run")
    out = capsys.readouterr().out
    assert "[least, greatest]" in out
    assert "[bold]" in out
