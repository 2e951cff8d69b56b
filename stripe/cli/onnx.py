"""Folded networks of ONNX files, written as ONNX."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from torch import Tensor

    from stripe.fold import FoldResult

__all__ = ["write_folded"]


def write_folded(result: "FoldResult", source: str, output: Path, images: "Tensor", meta: dict[str, Any]) -> None:
    """Write a folded network, and say how it compares with its file in onnxruntime.

    Args:
        result: The folded network, and what is known of its sites.
        source: The name of the model, ``onnx:FILE``.
        output: The file to write.
        images: A batch to compare the files on, as the network takes it.
        meta: What is known of the network.

    Raises:
        StripeError: It cannot be written.
    """
    from stripe import onnx

    original = Path(source.removeprefix("onnx:"))
    images = images.cpu().float()
    onnx.write(result.model, onnx.read(original), output, images[:4], meta=meta | {"folded": result.folded})
    compared = onnx.compare(original, output, images)
    folded = int(result.sites["folded"].isin(["backwards", "forwards", "left"]).sum())
    (before, after), (slow, fast) = compared.bytes, compared.images_per_second
    click.echo(
        f"{output}: {folded} of {len(result.sites)} sites folded; {after / 1e6:.2f} MB, {before / 1e6:.2f} before; in "
        f"onnxruntime on this CPU {fast:,.0f} images/s, {slow:,.0f} before (× {compared.speed:.2f}), in batches of "
        f"{len(images)}; outputs differ by {compared.error:.1e} (relative) from the original's",
        err=True,
    )
