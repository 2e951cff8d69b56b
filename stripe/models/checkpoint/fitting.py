"""Loading a checkpoint into a model, or saying why it does not fit."""

import logging

from torch import Tensor, nn

from stripe.errors import StripeError
from stripe.models.checkpoint.keys import without_wrappers
from stripe.models.checkpoint.reading import Checkpoint

__all__ = ["load_into"]

logger = logging.getLogger(__name__)

SHOWN = 3  # names of each sort in a message
COUNTER = "num_batches_tracked"  # of batch normalisation; old checkpoints lack it, and it changes no output


def load_into(model: nn.Module, checkpoint: Checkpoint, *, partial: bool = False) -> list[str]:
    """Copy a checkpoint's tensors into a model, which may be wrapped in DataParallel or compiled.

    Args:
        model: It is changed in place, or left as it was where an error is raised.
        checkpoint: What ``read`` gave.
        partial: Load what fits, and skip the rest.

    Returns:
        What was skipped, one ``name (reason)`` each; empty unless ``partial``.

    Raises:
        StripeError: Names or shapes do not fit; or, with ``partial``, not one parameter does.
    """
    own = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    wanted = without_wrappers(own)
    actual = dict(zip(wanted, own, strict=True))  # name without wrappers → name in this model
    given = checkpoint.state_dict

    fitting = [name for name in wanted if name in given and given[name].shape == wanted[name].shape]
    problems = {
        "missing in the file": [name for name in wanted if name not in given and not name.endswith(COUNTER)],
        "unknown to the model": [name for name in given if name not in wanted and not name.endswith(COUNTER)],
        "of another shape": [
            f"{name}: {_size(given[name])} in the file, {_size(wanted[name])} in the model"
            for name in wanted
            if name in given and name not in fitting
        ],
    }
    if not partial and any(problems.values()):
        sentences = [f"{len(names)} {what} ({_few(names)})" for what, names in problems.items() if names]
        raise StripeError(
            f"{checkpoint.path} does not fit the model: {'; '.join(sentences)}. "
            "Check --model, --attention and --num-classes, or load what fits with --partial"
        )
    if all(name.endswith(COUNTER) for name in fitting):
        raise StripeError(
            f"{checkpoint.path} has nothing in common with the model: it holds {_few(list(given))}, "
            f"the model has {_few(list(wanted))}. Check --model"
        )
    model.load_state_dict({actual[name]: given[name] for name in fitting}, strict=False)
    skipped = [f"{name} ({what})" for what, names in problems.items() for name in names]
    if skipped:
        logger.warning("%s: skipped %s", checkpoint.path, _few(skipped))
    return skipped


def _few(entries: list[str]) -> str:
    rest = f" and {len(entries) - SHOWN} more" if len(entries) > SHOWN else ""
    return ", ".join(entries[:SHOWN]) + rest


def _size(tensor: Tensor) -> str:
    return "×".join(str(side) for side in tensor.shape) or "a scalar"
