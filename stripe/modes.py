"""The modes that a network and torch are in, and a change of them for a while."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from stripe.errors import StripeError

__all__ = ["evaluating", "no_autocast", "transforming"]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode within; afterwards every module is in the mode that it was in before, one by one."""
    modes = {module: module.training for module in model.modules()}
    try:
        try:
            model.eval()
        except NotImplementedError as error:  # a program of torch.export
            raise StripeError(
                f"{type(model).__name__} is an exported program, which has no modes and no modules of its own. Build "
                "the model from its Python code and load the weights with load_state_dict."
            ) from error
        yield
    finally:
        # Through train(), parents first: some modules do something there (merge weights, clear a cache).
        for module, training in modes.items():
            if module.training != training:
                module.train(training)


def no_autocast(tensor: Tensor) -> AbstractContextManager[Any]:
    """A context in which the precision of what is computed on a tensor's device is that of its operands."""
    device = tensor.device.type
    on = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if on else nullcontext()


def transforming() -> bool:
    """Whether what is computed belongs to a transformation of the computation, after whose end it may be of no use."""
    return bool(
        torch._C._current_graph_task_id() != -1  # within backward: the recomputation of gradient checkpointing
        or torch._C._functorch.peek_interpreter_stack() is not None  # torch.func
        or torch._C._len_torch_dispatch_stack()  # fake tensors, make_fx, selective checkpointing
        or torch._C._get_tracing_state() is not None
    )
