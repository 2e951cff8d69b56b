"""Files that a command is told to write, checked before it begins."""

from pathlib import Path

__all__ = ["check_output", "check_weights"]


def check_output(path: Path) -> None:
    """See to it that no file of a run is written over.

    Raises:
        StripeError: The path is one of them.
    """
    from stripe.errors import StripeError
    from stripe.training import Run

    for folder in (path.parent, path.parent.parent):
        run = Run(folder)
        if (folder / "run.json").exists() and run.owns(path):
            raise StripeError(f"{path} is a file of the run in {folder}, which would be lost; name another file")


def check_weights(path: Path) -> None:
    """The same for a checkpoint, whose name has to end in ``.safetensors``.

    Raises:
        StripeError: It does not, or the path is a file of a run.
    """
    from stripe.errors import StripeError

    if path.suffix != ".safetensors":
        raise StripeError(f"{path}: a checkpoint is written as .safetensors")
    check_output(path)
