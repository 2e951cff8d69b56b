"""Checks of the output files of a command before it begins."""

from pathlib import Path

__all__ = ["check_folded", "check_output", "check_weights"]


def check_output(path: Path) -> None:
    """Check that a command does not overwrite a file of a run.

    Raises:
        StripeError: The path is a file of a run.
    """
    from stripe.errors import StripeError
    from stripe.training import Run

    for folder in (path.parent, path.parent.parent):
        run = Run(folder)
        if (folder / "run.json").exists() and run.owns(path):
            raise StripeError(f"{path} is a file of the run in {folder}, which would be lost; name another file")


def check_weights(path: Path) -> None:
    """Check that a checkpoint does not overwrite a file of a run, and that its name ends in ``.safetensors``.

    Raises:
        StripeError: The name has another ending, or the path is a file of a run.
    """
    from stripe.errors import StripeError

    if path.suffix != ".safetensors":
        raise StripeError(f"{path}: a checkpoint is written as .safetensors")
    check_output(path)


def check_folded(path: Path, model: str | None) -> None:
    """The same for a folded network: a checkpoint, or an ONNX file where the network is of one.

    Args:
        path: The file to write.
        model: The name of the model.

    Raises:
        StripeError: The name has another ending, or the path is the network's own file or one of a run.
    """
    from stripe.errors import StripeError

    if model is None or not model.startswith("onnx:"):
        check_weights(path)
        return
    if path.suffix != ".onnx":
        raise StripeError(f"{path}: the network of an ONNX file is written as .onnx")
    if path.resolve() == Path(model.removeprefix("onnx:")).resolve():
        raise StripeError(f"{path} is the network's own file; name another file")
    check_output(path)
