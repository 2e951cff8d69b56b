"""The architecture: a layer imports only those below it."""

import ast
from pathlib import Path

import pytest

import stripe

PACKAGE = Path(stripe.__file__).parent

# From the lowest to the highest; layers in one row don't know each other.
LAYERS = [
    {"errors", "provenance", "progress", "tuning"},
    {"names"},
    {"registry"},
    {"lazy"},
    {"adapter", "modes", "moments"},
    {"files"},
    {"devices", "export"},
    {"onnx"},
    {"data", "attention"},
    {"models"},
    {"asr"},
    {"checkpoint"},
    {"tasks"},
    {"capture"},
    {"gradcam"},
    {"analysis"},
    {"plots"},
    {"training", "variant", "callbacks"},
    {"bench"},
    {"fold"},
    {"report"},
    {"reproduce"},
    {"cli"},
]
LEVEL = {name: level for level, row in enumerate(LAYERS) for name in row}

# Third-party packages that a layer has no business with.
FORBIDDEN = {
    "capture": {"stripe.models", "stripe.checkpoint", "stripe.data", "stripe.attention", "stripe.asr"},
    "gradcam": {"stripe.models", "stripe.checkpoint", "stripe.data", "stripe.attention", "stripe.asr"},
    "analysis": {"torch"},
    "plots": {"torch"},
    "report": {"torch"},
    "attention": {"timm", "torchvision"},
}


def imports(path: Path) -> set[str]:
    """Full names of the modules that a file imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def layer_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "stripe" and len(parts) > 1 and parts[1] in LEVEL else None


FILES = [path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem in LEVEL]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_downwards(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for module in imports(path):
        other = layer_of(module)
        if other is not None and other != own:
            assert LEVEL[other] < LEVEL[own], f"{own} must not import {module}"
        assert not any(module == name or module.startswith(f"{name}.") for name in FORBIDDEN.get(own, ()))


def test_every_folder_is_a_layer() -> None:
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders <= set(LEVEL)
