"""The paper's numbers in the recipes, spot-checked by eye against its tables."""

import math

import pytest
import torch

from stripe.models import build
from stripe.reproduce import Plan, find


def paper(name, group, row, column):
    (recipe,) = find([name])
    (found,) = [r for r in recipe.rows if (r.group, r.name) == (group, row)]
    position = [c.name for c in recipe.columns].index(column)
    return found.paper[position]


@pytest.mark.parametrize(
    ("table", "group", "row", "column", "value"),
    [
        ("table1", "", "+CBAM", "CIFAR100 images/s", 793),
        ("table1", "", "+SPA", "STL10 #P. (M)", 3.83),
        ("table1", "", "+ASR (SPA)", "STL10 images/s", 253),
        ("table3", "ResNet164", "backbone", "CIFAR10", 92.97),
        ("table3", "ResNet164", "ASR (IE)", "STL10", 85.15),
        ("table3", "VGG19", "ASR (SRM)", "CIFAR100", 73.33),
        ("table3", "ShuffleNetV2", "ASR (SPA)", "STL10", 82.15),
        ("table3", "MobileNet", "ASR (IE)", "CIFAR100", 69.45),
        ("table4", "ResNet83", "SPA", "STL10 without ASR", 77.54),
        ("table4", "ResNet83", "SRM", "STL10 with ASR", 84.83),
        ("table4", "ResNet164", "SE", "CIFAR100 with ASR", 77.32),
        ("table4", "ResNet164", "IE", "CIFAR100 without ASR", 75.78),
        ("table6", "RepVGGB3", "with ASR (SE)", "STL10", 88.29),
        ("table6", "ResNet56", "ACNet", "CIFAR100", 71.42),
        ("table6", "ResNet110", "ACNet with ASR (SE)", "STL10", 86.13),
        ("table7", "", "ASR (IE)", "δ = 4", 74.56),
        ("table7", "", "ASR (SPA)", "δ = 3", 75.81),
        ("table8", "", "ASR (SE)", "ours", 75.36),
        ("table8", "", "ASR (SE)", "N0.1", 74.56),
        ("table8", "", "ASR (IE)", "C0.5", 75.14),
        ("table9", "", "(0.5, 0.5)", "origin", 35.77),
        ("table9", "", "(0.8, 0.5)", "ASR (IE)", 72.38),
        ("table9", "", "(0.5, 0.2)", "ASR (SRM)", 75.02),
        ("table13", "", "ASR (SE)", "0.5", 74.03),
        ("table13", "", "ASR (IE)", "0.3", 74.73),
        ("table14", "", "ASR (SRM)", "δ = 3, top-5", 94.21),
        ("table14", "", "ASR (SPA)", "δ = 1, top-5", 93.44),
        ("fig3", "", "+SRM", "top-1 (%)", 75.32),
    ],
)
def test_a_number(table, group, row, column, value):
    assert paper(table, group, row, column) == value


def test_tables_that_repeat_each_other_agree():
    for row in ("ASR (SE)", "ASR (IE)", "ASR (SRM)", "ASR (SPA)"):
        for copies in (1, 2, 3, 4):
            assert paper("table7", "", row, f"δ = {copies}") == paper("table14", "", row, f"δ = {copies}")
        assert paper("table7", "", row, "δ = 1") == paper("table3", "ResNet164", row, "CIFAR100")
    for row in ("ASR (SE)", "ASR (IE)"):
        assert paper("table8", "", row, "ours") == paper("table7", "", row, "δ = 1")
    for kappa in ("SE", "IE", "SRM"):
        assert paper("table9", "", "(1.0, 0.0)", f"ASR ({kappa})") == paper("table7", "", f"ASR ({kappa})", "δ = 1")


def test_no_number_is_missing_from_a_table():
    for name in ("table1", "table2", "table3", "table4", "table5", "table6", "table7", "table8", "table13", "table14"):
        (recipe,) = find([name])
        assert all(math.isfinite(value) for row in recipe.rows for value in row.paper), name
        assert all(len(row.paper) == len(recipe.columns) for row in recipe.rows), name


def test_attention_has_the_papers_number_of_parameters():
    cells = [
        cell
        for cell in Plan.make(find(["spsa/table1"])[0], "paper").cells
        if cell.row.group == "ResNet-50" and cell.column.metric == "added_parameters" and cell.original
    ]
    with torch.device("meta"):
        networks = [build(cell.original.model, attention=cell.original.attention) for cell in cells]
    counts = [sum(each.numel() for each in network.parameters()) for network in networks]
    for cell, count in zip(cells, counts, strict=True):  # the first has none
        assert (count - counts[0]) / 1000 == pytest.approx(cell.paper, abs=10 if cell.paper > 1 else 0.005)
    assert len(cells) == 9
