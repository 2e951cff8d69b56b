"""Reading torch's own files (.pth, .pt, .bin, .ckpt …), which are pickles, without running what they hold."""

import argparse
import codecs
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stripe.errors import StripeError

__all__ = ["epoch_in", "read_pickled", "state_dict_in"]

# Where training loops put the state dict, in the order in which we look.
STATE_KEYS = ("state_dict", "model", "model_state_dict", "net", "state_dict_ema")

# Harmless things that training loops store beside the weights: accuracies as numpy scalars, the command's
# arguments. numpy 1 and 2 write different module names.
_SCALAR = np._core.multiarray.scalar  # the function that numpy's pickles name
SAFE: list[Any] = [
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    *{type(np.dtype(code)) for code in "?bBhHiIlLqQefd"},
    codecs.encode,
    argparse.Namespace,
]


HDF5 = b"\x89HDF\r\n\x1a\n"  # how these files begin


def read_pickled(path: Path) -> Any:
    """What ``torch.save`` wrote, tensors on the CPU, by ``weights_only`` loading and never otherwise.

    Tensors are mapped from the file, not read, where its format permits (everything since torch 1.6).

    Raises:
        StripeError: The file is no checkpoint, is damaged, or holds objects whose loading would run code.
    """
    try:
        with torch.serialization.safe_globals(SAFE), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on formats that end in one of our errors anyway
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise StripeError(f"{path} cannot be read: {error.strerror}") from error
    except Exception as error:  # a file can be broken in any way
        raise StripeError(_explain(path, str(error))) from error


def state_dict_in(content: Any, path: Path) -> dict[str, Tensor]:
    """The state dict that a checkpoint is or holds.

    Args:
        content: What :func:`read_pickled` gave.
        path: For the message.

    Raises:
        StripeError: There is none.
    """
    if not isinstance(content, Mapping):
        raise StripeError(f"{path} holds a {type(content).__name__}, not a state dict")
    candidates = [content, *(content[key] for key in STATE_KEYS if key in content)]
    for candidate in candidates:
        if _is_state_dict(candidate):
            return {key: value for key, value in candidate.items() if isinstance(value, Tensor)}
    found = ", ".join(str(key) for key in list(content)[:8]) or "nothing"
    raise StripeError(f"{path} holds no state dict: it holds {found}, and none of {', '.join(STATE_KEYS)} with tensors")


def epoch_in(content: Any) -> int | None:
    """The entry ``epoch`` of a checkpoint, where it has one."""
    epoch = content.get("epoch") if isinstance(content, Mapping) else None
    if isinstance(epoch, Tensor | np.generic) and np.ndim(epoch) == 0:
        epoch = epoch.item()
    return epoch if isinstance(epoch, int) and not isinstance(epoch, bool) else None


def _is_state_dict(candidate: Any) -> bool:
    if not isinstance(candidate, Mapping) or not candidate:
        return False
    tensors = [isinstance(value, Tensor) or str(key).endswith("_extra_state") for key, value in candidate.items()]
    return all(tensors) and all(isinstance(key, str) for key in candidate)


def _explain(path: Path, error: str) -> str:
    forbidden = re.search(r"GLOBAL ([\w.]+)", error)
    if forbidden:
        return (
            f"{path} holds a Python object ({forbidden[1]}) and not only tensors; loading it could run code, so it "
            "is not loaded. Where you trust it, save its state dict: torch.save(model.state_dict(), 'new.pth')"
        )
    if "TorchScript" in error:
        return (
            f"{path} is a TorchScript archive, which is code and not weights; "
            "save its state dict: torch.save(torch.jit.load(path).state_dict(), 'weights.pth')"
        )
    with path.open("rb") as file:
        if file.read(len(HDF5)) == HDF5:
            return (
                f"{path} is no checkpoint, but HDF5, as captures are: `stripe analyze`, `plot` and `report` take it as "
                "it is; here a network's weights are wanted, such as best.safetensors of a run"
            )
    return (
        f"{path} is not a checkpoint that can be read safely: it is empty, cut short, of another format, or a "
        "pickle of Python objects"
    )
