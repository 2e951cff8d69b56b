"""A cache of attention values: each is computed once per forward pass.

Weight and bias of a layer take the same v, and so do the layers of a group, but each asks for it by itself.
`torch.nn.utils.parametrize.cached` is no help: it keeps parametrized tensors, not what they share, and confuses a
model with its deep copies.

What is kept must be what would be computed anew. So it is kept together with everything that it depends on besides the
code: whether gradients are recorded, the tensors and how often each was changed. And it is computed where
`torch.utils.checkpoint` does not see it, which compares what the first pass and the recomputation save for backward.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils._pytree import tree_leaves

__all__ = ["cached", "remember"]

Computed = TypeVar("Computed")


@dataclass
class _Kept:
    """A value that was computed.

    Attributes:
        value: The value: a tensor, or a tree of tensors.
        circumstances: What the value depends on, see `_circumstances`.
        tensors: The tensors that the value was computed from. They are held here because another tensor could otherwise
            get the ``id`` of one that was freed.
        spent: Not empty once a backward pass went through the value, which frees its graph.
    """

    value: Any
    circumstances: tuple[Any, ...]
    tensors: list[Tensor]
    spent: list[bool]


class _OfThread(threading.local):
    """One cache per thread: replicas of a model in several threads compute values on different devices."""

    def __init__(self) -> None:
        self.depth = 0
        self.kept: dict[nn.Module, _Kept] = {}


_thread = _OfThread()


@contextmanager
def cached() -> Iterator[None]:
    """Compute every ASR's value v(ψ, θ) at most once inside, as long as it stays the same.

    In training around one forward pass (the loss's ``backward`` may follow inside or outside); in evaluation around the
    whole pass over the data. Without it nothing is wrong, only slower; a model without ASR does not mind it.

    A value is computed anew where a kept one would not do: after another grad or inference mode, after a parameter was
    changed (by an optimiser's step, ``load_state_dict``, ``to``; not seen: writing into ``parameter.data``), after
    ``backward`` went through it, in another thread or CUDA stream, in the recomputation of gradient checkpointing, and
    in the transformations of ``torch.func`` and under ``torch.compile``, which keep nothing.

    Example:
        >>> from stripe import asr
        >>> from stripe.models import build
        >>> model = build("resnet11")
        >>> _ = asr.reparameterize(model)
        >>> with asr.cached():
        ...     logits = model(torch.rand(2, 3, 32, 32))
        >>> logits.sum().backward()
    """
    _thread.depth += 1
    try:
        yield
    finally:
        _thread.depth -= 1
        if not _thread.depth:
            _thread.kept.clear()


def remember(owner: nn.Module, compute: Callable[[], Computed], sources: Callable[[], list[nn.Module]]) -> Computed:
    """What ``compute`` gives, kept for ``owner`` until the outermost `cached` of this thread ends.

    Args:
        owner: The module whose value it is.
        compute: Computes the value, a tree of tensors.
        sources: Gives all modules (not their submodules) whose parameters, buffers and modes the value depends on.
    """
    # The compiler sees that it is the same computation, and a dictionary would only break its graph.
    if torch.compiler.is_compiling():
        return compute()
    if not _thread.depth or _transforming():
        return _apart(compute)
    modules = sources()
    tensors = [
        tensor
        for module in modules
        for tensor in (*module._parameters.values(), *module._buffers.values())
        if tensor is not None
    ]
    if any(tensor.is_inference() for tensor in tensors):  # nothing counts their changes
        return _apart(compute)
    circumstances = _circumstances(modules, tensors)
    kept = _thread.kept.get(owner)
    if kept is None or kept.spent or kept.circumstances != circumstances:
        kept = _thread.kept[owner] = _Kept(_apart(compute), circumstances, tensors, [])
        _watch(kept)
    value: Computed = kept.value
    return value


def _transforming() -> bool:
    """Whether what is computed now belongs to something that ends before `cached` does."""
    return bool(
        torch._C._current_graph_task_id() != -1  # within backward: the recomputation of gradient checkpointing
        or torch._C._functorch.peek_interpreter_stack() is not None  # torch.func
        or torch._C._len_torch_dispatch_stack()  # fake tensors, make_fx, selective checkpointing
        or torch._C._get_tracing_state() is not None
    )


def _circumstances(modules: list[nn.Module], tensors: list[Tensor]) -> tuple[Any, ...]:
    devices = {tensor.device for tensor in tensors if tensor.is_cuda}
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        forward_ad._current_level,
        [torch.cuda.current_stream(device) for device in devices],
        [module.training for module in modules],
        [(id(t), t._version, t.requires_grad, t.dtype, t.device, _address(t)) for t in tensors],
    )


def _address(tensor: Tensor) -> int:
    """Where its data lies, which ``.data = …`` changes; 0 for subclasses, which may have none."""
    return tensor.data_ptr() if type(tensor) in (Tensor, nn.Parameter) else 0


def _watch(kept: _Kept) -> None:
    """Have a backward pass through the value leave a mark."""
    spent = kept.spent  # not kept itself: a hook that holds its tensor keeps both from being freed
    for leaf in tree_leaves(kept.value):
        if isinstance(leaf, Tensor) and leaf.requires_grad and not leaf.is_leaf:
            leaf.register_hook(lambda _: spent.append(True))  # type: ignore[no-untyped-call]


def _apart(compute: Callable[[], Computed]) -> Computed:
    """Compute where no hooks on saved tensors see it.

    `torch.utils.checkpoint` counts with such hooks what is saved in the first pass and in the recomputation. Whether a
    value is computed or kept may differ between them, so that must not count. The hooks that go in front of them keep
    the tensors as they are.
    """
    with _without_hooks():
        return compute()


def _without_hooks() -> AbstractContextManager[Any]:
    present = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)  # new in torch 2.8
    if not torch.is_grad_enabled() or (present is not None and present(True) is None):
        return nullcontext()
    return torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor.detach(), lambda tensor: tensor)
