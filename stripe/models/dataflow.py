"""Data flow: which function made which tensor in a forward pass, and who uses it.

No tracer has to understand the model: it runs, and a ``TorchFunctionMode`` writes down every call. So whatever runs can
be followed, whatever its modules are called.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from stripe.adapter import Batch, batch_of, run, tensors_of
from stripe.models.frozen_norm import as_batch_norm
from stripe.modes import evaluating

__all__ = ["Call", "Value", "follow"]


@dataclass(eq=False)
class Value:
    """A tensor between two functions; one that is changed in place is a new value each time.

    Attributes:
        tensor: The tensor itself. It is held so that Python gives its identity to no other tensor meanwhile.
        made_by: What computed it; None for inputs, parameters and constants.
        uses: What takes it, once for each time.
        owner: Path of its module and its name there, where it is a parameter or buffer.
        saved: Whether the state dict has it; what is changed in another one is lost.
        constant: Whether it is computed of parameters, buffers and numbers alone.
        returned: Whether the model returns it.
    """

    tensor: Tensor
    made_by: "Call | None" = None
    uses: list["Call"] = field(default_factory=list)
    owner: tuple[str, str] | None = None
    saved: bool = False
    constant: bool = False
    returned: bool = False


@dataclass(eq=False)
class Call:
    """A function that made tensors of tensors.

    Attributes:
        name: Its name, without the underscore of those that work in place.
        module: Path of the innermost module that was running.
        function: The function itself.
        args: What it was given, by position …
        kwargs: … and by name.
        inputs: The tensors therein, in their order.
        outputs: What it made.
    """

    name: str
    module: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: list[Value]
    outputs: list[Value] = field(default_factory=list)

    def argument(self, name: str, position: int) -> Any:
        """An argument by its name or position, None where it was not given."""
        return self.kwargs[name] if name in self.kwargs else self.args[position] if position < len(self.args) else None


def follow(model: nn.Module, images: Tensor | Batch) -> list[Call]:
    """Run a model once, in evaluation mode, and write down what was computed of what.

    Args:
        model: Any; as it was afterwards.
        images: (N, 3, H, W), of the type of its weights; or a batch of another form.

    Returns:
        The calls, in their order.

    Raises:
        StripeError: The model does not run.
    """
    batch = batch_of(images, model)
    writer = _Writer(model)
    handles = []
    try:
        for path, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(lambda *_, path=path: writer.stack.append(path)))
            handles.append(module.register_forward_hook(lambda *_: writer.leave(), always_call=True))
        with evaluating(model), torch.no_grad(), as_batch_norm(model), writer:
            output = run(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    for tensor in tensors_of(output):
        writer.value_of(tensor).returned = True
    return writer.calls


class _Writer(TorchFunctionMode):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.stack: list[str] = []
        self.values: dict[int, Value] = {}
        for path, module in model.named_modules():
            for name, tensor in (*module._parameters.items(), *module._buffers.items()):
                saved = name not in module._non_persistent_buffers_set
                # A weight that the state dict leaves out is nobody's: what is folded into it would be lost.
                owner = None if name in ("weight", "bias") and not saved else (path, name)
                if tensor is not None:
                    self.values.setdefault(id(tensor), Value(tensor, owner=owner, saved=saved, constant=True))

    def value_of(self, tensor: Tensor) -> Value:
        return self.values.setdefault(id(tensor), Value(tensor))

    def leave(self) -> None:
        self.stack.pop()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        inputs = [self.value_of(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        before = {id(value.tensor): _version(value.tensor) for value in inputs}
        result = func(*args, **kwargs)
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        # What returns the very tensor that it was given (`contiguous`, often), and did not change it, did nothing.
        made = [leaf for leaf in made if id(leaf) not in before or before[id(leaf)] != _version(leaf)]
        if made:
            name = str(getattr(func, "__name__", ""))
            call = Call(name.rstrip("_") or name, self.stack[-1] if self.stack else "", func, args, kwargs, inputs)
            for value in inputs:
                value.uses.append(call)
            for leaf in made:
                self.values[id(leaf)] = Value(leaf, call, constant=all(value.constant for value in inputs))
                call.outputs.append(self.values[id(leaf)])
            self.calls.append(call)
        return result


def _version(tensor: Tensor) -> int | None:
    """How often a tensor was changed in place; of tensors of the inference mode that is not kept."""
    return None if tensor.is_inference() else tensor._version
