"""A cache of attention values: each is computed once per forward pass.

Weight and bias of a layer take the same v, and so do the layers of a group, but each asks for it by itself.
``torch.nn.utils.parametrize.cached`` is no help: it keeps parametrized tensors, not what they share, and confuses a
model with its deep copies.

A cached value must equal the value that would be computed anew. Therefore it is stored with everything that it depends
on besides the code: whether gradients are recorded, the tensors, and how often each was changed. It is computed where
``torch.utils.checkpoint`` does not see it, which compares the tensors that the first pass and the recomputation save.
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

from stripe.modes import transforming

__all__ = ["cached", "remember"]

Computed = TypeVar("Computed")


@dataclass
class _Kept:
    """A cached value.

    Attributes:
        value: A tensor, or a tree of tensors.
        circumstances: Everything that the value depends on, from ``_circumstances``.
        tensors: The tensors that the value was computed from. They are held here because another tensor could otherwise
            get the ``id`` of one that was freed.
        spent: A list that is not empty once a backward pass went through the value, which frees its graph.
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
    """A context in which the value v(ψ, θ) of every ASR is computed at most once, as long as it does not change.

    In training, use it around one forward pass (``backward`` may follow inside or outside); in evaluation, around the
    whole pass over the data. Results are the same without it, only slower. It has no effect on a model without ASR.

    A value is computed anew if the cached one cannot be used: in another grad or inference mode, after a parameter was
    changed (by a step of an optimiser, ``load_state_dict`` or ``to``; writing into ``parameter.data`` is not seen),
    after ``backward`` went through it, in another thread or CUDA stream, and in the recomputation of gradient
    checkpointing. Nothing is cached in the transformations of ``torch.func`` and under ``torch.compile``.

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
    """Return the result of ``compute``, cached for ``owner`` until the outermost ``cached`` of this thread ends.

    Args:
        owner: The module that the value belongs to.
        compute: Function that computes the value, a tensor or a tree of tensors.
        sources: Function that returns all modules (not their submodules) whose parameters, buffers and modes the value
            depends on.
    """
    # the compiler merges equal computations by itself, and a dictionary would break its graph
    if torch.compiler.is_compiling():
        return compute()
    if not _thread.depth or transforming():
        return _apart(compute)
    modules = sources()
    tensors = [
        tensor
        for module in modules
        for tensor in (*module._parameters.values(), *module._buffers.values())
        if tensor is not None
    ]
    if any(tensor.is_inference() for tensor in tensors):  # their changes are not counted
        return _apart(compute)
    circumstances = _circumstances(modules, tensors)
    kept = _thread.kept.get(owner)
    if kept is None or kept.spent or kept.circumstances != circumstances:
        kept = _thread.kept[owner] = _Kept(_apart(compute), circumstances, tensors, [])
        _watch(kept)
    value: Computed = kept.value
    return value


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
    """The address of a tensor's data, which ``.data = …`` changes; 0 for subclasses, which may have none."""
    return tensor.data_ptr() if type(tensor) in (Tensor, nn.Parameter) else 0


def _watch(kept: _Kept) -> None:
    """Register hooks by which a backward pass through the value marks it as spent."""
    spent = kept.spent  # not ``kept`` itself: a hook that refers to its tensor prevents both from being freed
    for leaf in tree_leaves(kept.value):
        if isinstance(leaf, Tensor) and leaf.requires_grad and not leaf.is_leaf:
            leaf.register_hook(lambda _: spent.append(True))  # type: ignore[no-untyped-call]


def _apart(compute: Callable[[], Computed]) -> Computed:
    """Compute a value where no hooks on saved tensors see it.

    With such hooks ``torch.utils.checkpoint`` counts the tensors that the first pass and the recomputation save. A
    value may be cached in one of the two and computed in the other, so that its tensors must not count. The hooks that
    are pushed here hide the outer ones and return the tensors unchanged.
    """
    with _without_hooks():
        return compute()


def _without_hooks() -> AbstractContextManager[Any]:
    present = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)  # new in torch 2.8
    if not torch.is_grad_enabled() or (present is not None and present(True) is None):
        return nullcontext()
    return torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor.detach(), lambda tensor: tensor)
