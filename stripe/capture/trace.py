"""Tracing of a forward pass: which tensors depend on the images, their origin, and the roles of their axes.

Autograd could tell the first, but not under ``no_grad``, after ``detach`` or behind a comparison. A
``TorchDispatchMode`` sees every operator, whoever calls it; a result depends on the images if one of the inputs does.
No values are read, so that tracing works for tensors without values, too.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from stripe.capture import axes as ax
from stripe.capture.axes import Axes

__all__ = ["CLEAN", "DEPENDENT", "REDUCTIONS", "UNCERTAIN", "Origin", "Trace"]

CLEAN, UNCERTAIN, DEPENDENT = 0, 1, 2
"""Whether a tensor depends on the images: no; perhaps, as values had left torch before it was computed; yes."""

# Operators that take a tensor for its shape alone.
_FACTORIES = frozenset(
    {"empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like", "randint_like"}
    | {"new_empty", "new_zeros", "new_ones", "new_full", "new_empty_strided", "scalar_tensor"}
)
_CONSTANTS = frozenset({"zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full"})
_CONSTANTS |= {"zeros", "ones", "full", "scalar_tensor"}
_VIEWS = frozenset(
    {"view", "_unsafe_view", "reshape", "_reshape_alias", "unsqueeze", "squeeze", "flatten", "unflatten"}
)
_SAME = frozenset({"detach", "alias", "clone", "contiguous", "_to_copy", "to", "lift_fresh", "view_as", "_conj"})
REDUCTIONS = frozenset(
    {"mean", "sum", "var", "std", "var_mean", "std_mean", "amax", "amin", "max", "min", "norm", "linalg_vector_norm"}
    | {"logsumexp", "prod", "nansum", "any", "all", "argmax", "argmin", "median", "quantile"}
)
_COMPARISONS = frozenset(
    {"gt", "ge", "lt", "le", "eq", "ne", "logical_not", "logical_and", "logical_or", "isnan", "isfinite", "bitwise_not"}
)
# A gate may be written as a division after one of these, as 1 / (1 + exp(−g)); any other division normalises.
_SQUASHES = frozenset({"exp", "expm1", "sigmoid", "softplus", "relu", "elu", "tanh", "hardsigmoid"})
# After these operators a mask is still a mask, at other positions.
_RESAMPLED = frozenset({"max_pool2d_with_indices", "avg_pool2d", "_adaptive_avg_pool2d", "constant_pad_nd"})
_RESAMPLED |= {"convolution", "index", "roll", "flip", "grid_sampler_2d", "logical_xor", "_to_copy"}
_CONVOLUTIONS = frozenset({"convolution", "_convolution", "cudnn_convolution", "mkldnn_convolution", "conv2d"})
_NORMS = frozenset({"native_batch_norm", "_native_batch_norm_legit_no_training", "_native_batch_norm_legit"})
_NORMS |= {"native_layer_norm", "native_group_norm", "cudnn_batch_norm", "_batch_norm_no_update", "batch_norm"}
# The origin of a tensor is passed on through these operators, as through every operation with a constant.
_PASSED = _VIEWS | _SAME | {"permute", "transpose", "t", "expand", "slice", "select", "repeat", "clamp", "clamp_min"}
_PASSED |= {"add", "sub", "rsub", "mul", "div", "clamp_max", "maximum", "abs", "neg", "copy", "nan_to_num", "index"}
# A norm may be the root of a sum: the origin is passed on through these operators after a reduction.
_ROOTS = frozenset({"sqrt", "pow", "square"})
_SCATTERS = frozenset({"scatter", "scatter_add", "scatter_reduce", "index_put", "index_add", "index_copy", "put"})
_INVERSIONS = frozenset({"rsqrt", "reciprocal"})


@dataclass(frozen=True)
class Origin:
    """Origin of a tensor.

    Attributes:
        operator: Name of the last operator that was more than a view, a cast or an operation with a constant.
            ``inverse`` stands for one divided by a sum, a mean, a norm or the root of one, as in a normalisation.
        learned: Whether a parameter of the network was among the inputs.
    """

    operator: str
    learned: bool


@dataclass
class _Known:
    axes: Axes
    origin: Origin


class _Call(NamedTuple):
    """One call of an operator: its arguments, and the tensors among them that depend on the images."""

    name: str
    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: list[Tensor]
    dependent: list[Tensor]


_Key = tuple[Any, ...]


class Trace(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A dispatch mode that follows which tensors are computed from the images.

    Args:
        model: The network, whose parameters, buffers and other tensors do not depend on the images.

    Attributes:
        escaped: Whether values of the images have left torch, where no operator is seen.
        apart: Number of images if each is a tensor of its own; 0 if they are one batch.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.escaped = False
        self.apart = 0
        self._state: dict[int, tuple[StorageWeakRef, int]] = {}  # by storage; a weak reference keeps its id from reuse
        self._known: dict[_Key, _Known] = {}
        self._views: defaultdict[int, set[_Key]] = defaultdict(set)  # by storage, its views that are known
        self._parameters: set[int] = set()
        self._reduced: dict[_Key, set[int]] = {}
        # Storage of a product → storage of its map, shape, and where to say that one was added to the other.
        self._products: dict[int, tuple[int, tuple[int, ...], list[bool]]] = {}
        for module in model.modules():
            for tensor in (*module._parameters.values(), *module._buffers.values(), *vars(module).values()):
                if isinstance(tensor, Tensor) and (storage := _storage(tensor)) is not None:
                    self._set(storage, CLEAN)
                    if isinstance(tensor, nn.Parameter):
                        self._parameters.add(storage._cdata)

    def source(self, tensor: Tensor, axes: Axes) -> None:
        """Declare that a tensor holds images, with the given axes."""
        if (storage := _storage(tensor)) is not None:
            self._set(storage, DEPENDENT)
        self._know(tensor, _Known(axes, Origin("image", learned=False)))

    def state(self, tensor: Tensor) -> int:
        """Whether a tensor depends on the images: ``CLEAN``, ``UNCERTAIN`` or ``DEPENDENT``."""
        storage = _storage(tensor)
        if storage is None:
            return UNCERTAIN
        if storage._cdata in self._state:
            return self._state[storage._cdata][1]
        return UNCERTAIN if self.escaped else CLEAN

    def axes(self, tensor: Tensor) -> Axes:
        """The roles of the axes of a tensor."""
        known = self._known.get(_key(tensor))
        return known.axes if known and len(known.axes) == tensor.ndim else ax.unknown(tensor.shape)

    def origin(self, tensor: Tensor) -> Origin:
        """The origin of a tensor."""
        known = self._known.get(_key(tensor))
        return known.origin if known else Origin("", self._is_parameter(tensor))

    def watch_sums(self, tensor: Tensor) -> Callable[[], set[int]]:
        """Watch over which axes a tensor is summed from now on; the returned function gives them."""
        seen = self._reduced.setdefault(_key(tensor), set())
        return lambda: seen

    def watch_addition(self, product: Tensor, feature_map: Tensor) -> Callable[[], bool]:
        """From now on, whether a product is added to the map that it was made of; the function returned says it."""
        added: list[bool] = []
        storages = _storage(product), _storage(feature_map)
        if None not in storages and storages[0]._cdata != storages[1]._cdata:
            self._products[storages[0]._cdata] = (storages[1]._cdata, tuple(product.shape), added)
        return lambda: bool(added)

    def leave(self, tensor: Tensor) -> None:
        """Note that values of a tensor have left torch (``item()``, ``numpy()``)."""
        self.escaped = self.escaped or self.state(tensor) == DEPENDENT

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        name = func._schema.name.partition("::")[2]
        name = name.rstrip("_") or name
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if name == "_local_scalar_dense":
            self.leave(inputs[0])
            return result
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        state = CLEAN if name in _FACTORIES else max(map(self.state, inputs), default=CLEAN)
        dependent = [tensor for tensor in inputs if self.state(tensor) > CLEAN]
        # Before the outputs are marked: an in-place operator has its tensor among inputs and outputs.
        call = _Call(name, func, args, kwargs, inputs, dependent)
        origin = self._origin_after(call)
        axes = [self._axes_after(call, output) for output in outputs]
        if name == "sum" and inputs:
            self._reduced.get(_key(inputs[0]), set()).update(_dims(func, args, kwargs, inputs[0].ndim))
        if name == "add" and len(inputs) == 2 and kwargs.get("alpha", 1) == 1:
            self._note_addition(*inputs)
        for output, found in zip(outputs, axes, strict=True):
            storage = _storage(output)
            if storage is not None:
                before = self._state.get(storage._cdata)
                self._set(storage, max(state, before[1] if before else CLEAN))
                if func._schema.is_mutable:
                    self._forget_copies(storage, _key(output))
                    self._forget_products(storage)
            if state or name in _CONSTANTS or name == "expand":
                self._know(output, _Known(found, origin))
        return result

    def _know(self, tensor: Tensor, known: _Known) -> None:
        self._known[_key(tensor)] = known
        if (storage := _storage(tensor)) is not None:
            self._views[storage._cdata].add(_key(tensor))

    def _forget_copies(self, storage: Any, written: _Key) -> None:
        """After a part of a tensor was written, its values may no longer be copies of one value."""
        for key in self._views[storage._cdata] - {written}:
            axes = self._known[key].axes
            kept = tuple(ax.unknown(key[2])[i] if ax.is_copy(axis) else axis for i, axis in enumerate(axes))
            self._known[key] = _Known(kept, self._known[key].origin)

    def _note_addition(self, *terms: Tensor) -> None:
        one, other = (_storage(term) for term in terms)
        if one is None or other is None:
            return
        for product, feature_map in ((one, other), (other, one)):
            made_of, shape, added = self._products.get(product._cdata, (None, (), []))
            if made_of == feature_map._cdata and all(tuple(term.shape) == shape for term in terms):
                added.append(True)

    def _forget_products(self, storage: Any) -> None:
        """After a product or its map has been changed in place their sum is no residual gate any more."""
        changed = storage._cdata
        self._products = {p: found for p, found in self._products.items() if changed not in (p, found[0])}

    def _set(self, storage: Any, state: int) -> None:
        held = self._state.get(storage._cdata)
        self._state[storage._cdata] = (held[0] if held else StorageWeakRef(storage), state)  # type: ignore[no-untyped-call]

    def _is_parameter(self, tensor: Tensor) -> bool:
        storage = _storage(tensor)
        return storage is not None and storage._cdata in self._parameters

    def _origin_after(self, call: _Call) -> Origin:
        name, _, args, _, inputs, dependent = call
        learned = any(self._is_parameter(tensor) or self.origin(tensor).learned for tensor in inputs)
        if name in _CONSTANTS:
            return Origin(name, learned)
        if name == "where":  # the origin of the values counts, not that of the condition
            dependent = [tensor for tensor in dependent if tensor is not args[0]]
        before_each = {self.origin(tensor).operator for tensor in dependent}
        if len(dependent) > 1 and name in _PASSED | {"where"} and before_each <= REDUCTIONS:
            return Origin("mean", learned)  # computed from several moments, as E[x²] − E[x]²
        if len(dependent) != 1:
            return Origin(name, learned)
        before = self.origin(dependent[0]).operator
        if before in _COMPARISONS and (name in REDUCTIONS | _COMPARISONS | _RESAMPLED or name.startswith("upsample")):
            return Origin(before, learned)
        divides = name in ("div", "true_divide") and len(args) > 1 and args[1] is dependent[0]
        power = name == "pow" and len(args) > 1 and isinstance(args[1], int | float) and args[0] is dependent[0]
        if name in _INVERSIONS or divides or (power and args[1] < 0):
            return Origin(name if before in _SQUASHES and name != "rsqrt" else "inverse", learned)
        if name in _PASSED | {"where"} or (name in _ROOTS and before in REDUCTIONS | {"inverse"}):
            return Origin(before, learned)
        return Origin(name, learned)

    def _axes_after(self, call: _Call, output: Tensor) -> Axes:
        shape = tuple(output.shape)
        if call.name in _CONSTANTS:
            return ax.copies(shape)
        if not call.inputs:
            return ax.unknown(shape)
        try:
            found = self._rule(call, shape)
        except (IndexError, KeyError, TypeError, ValueError, AttributeError):  # an overload that no rule knows
            return ax.unknown(shape)
        return found if len(found) == len(shape) else ax.unknown(shape)

    def _rule(self, call: _Call, shape: tuple[int, ...]) -> Axes:
        name, func, args, kwargs, inputs, _ = call
        dependent = call.dependent or inputs
        first = dependent[0]
        axes = self.axes(first)
        if name in _VIEWS:
            return ax.reshaped(axes, shape)
        if name in ("permute", "transpose", "t", "movedim"):
            return tuple(axes[i] for i in _order(name, args, first.ndim))
        if name == "expand":
            return ax.expanded(axes, shape)
        if name in ("repeat", "tile"):
            return ax.repeated(axes, shape)
        if name == "copy":
            return ax.expanded(self.axes(args[1]), shape)
        if name in _CONVOLUTIONS:
            return ax.convolved(self.axes(args[0]), shape)
        if name in ("addmm", "mm", "bmm", "baddbmm", "linear", "matmul"):
            return self._multiplied(name, args, dependent, shape)
        if name == "cat":
            return ax.concatenated([self.axes(part) for part in args[0]], _dim(args, kwargs, 1), shape)
        if name == "stack":
            dim = _dim(args, kwargs, 1) % len(shape)
            role = "image" if dim == 0 and shape[0] == self.apart else "branch"
            return (*axes[:dim], ax.axis_of(role, shape[dim]), *axes[dim:])
        if name in ("select", "unbind"):
            dim = (_dim(args, kwargs, 1)) % first.ndim
            return tuple(axis for i, axis in enumerate(axes) if i != dim)
        if name in REDUCTIONS:
            dims = _dims(func, args, kwargs, first.ndim)
            return ax.reduced(axes, dims, keepdim=len(shape) == first.ndim)
        if torch.Tag.pointwise in func.tags or name in _SAME:
            return ax.broadcast([(self.axes(tensor), tensor.shape) for tensor in inputs], shape)
        if name in _SCATTERS:
            known = ax.broadcast([(self.axes(tensor), tensor.shape) for tensor in inputs[1:]], shape)
            own = zip(known, ax.unknown(shape), strict=True)
            return tuple(there if there and not ax.is_copy(there) else none for there, none in own)
        if name in _NORMS and shape != tuple(first.shape):
            return ax.unknown(shape)
        if len(shape) == first.ndim:
            return ax.resized(axes, first.shape, shape)
        kept = axes[0] if shape and first.ndim and shape[0] == first.shape[0] else None
        return ax.unknown(shape) if kept is None else (kept, *ax.unknown(shape[1:]))

    def _multiplied(self, name: str, args: tuple[Any, ...], dependent: list[Tensor], shape: tuple[int, ...]) -> Axes:
        left, right = args[1:3] if name in ("addmm", "baddbmm") else args[:2]
        of_left, of_right = self.axes(left), self.axes(right)
        by_left = any(tensor is left for tensor in dependent)
        by_right = any(tensor is right for tensor in dependent)
        if by_left and by_right:
            return (*of_left[:-1], of_right[-1])
        if by_right:
            mixed = {factor.role for factor in of_right[-2]}
            role = "token" if mixed and mixed <= ax.SPATIAL else "channel"
            return (*of_right[:-2], ax.axis_of(role, shape[-2]), of_right[-1])
        mixed = {factor.role for factor in of_left[-1]}
        # A product over positions (an MLP-Mixer's transposed tokens) gives positions, any other gives channels.
        role = "token" if mixed and mixed <= ax.SPATIAL else "channel"
        return (*of_left[:-1], ax.axis_of(role, shape[-1]))


def _storage(tensor: Tensor) -> Any:
    try:
        return tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):  # sparse, and subclasses without one
        return None


def _key(tensor: Tensor) -> _Key:
    """A key that is equal for two tensors with the same values: autograd makes new objects for one view."""
    storage = _storage(tensor)
    if storage is None:
        return ("id", id(tensor))
    return (storage._cdata, tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), tensor.dtype)


def _dim(args: tuple[Any, ...], kwargs: dict[str, Any], position: int) -> int:
    return int(kwargs.get("dim", args[position] if len(args) > position else 0))


def _dims(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], ndim: int) -> list[int]:
    """The axes that a reduction goes over."""
    names = [argument.name for argument in func._schema.arguments]
    name = next((each for each in ("dim", "dims") if each in names), None)
    given = None
    if name is not None:
        position = names.index(name)
        given = kwargs.get(name, args[position] if len(args) > position else None)
    chosen = ax.dims_of(given)
    return list(range(ndim)) if chosen is None else [dim % ndim for dim in chosen]


def _order(name: str, args: tuple[Any, ...], ndim: int) -> list[int]:
    if name == "permute":
        return [dim % ndim for dim in args[1]]
    order = list(range(ndim))
    if ndim > 1:
        one, other = (0, 1) if name == "t" else (args[1] % ndim, args[2] % ndim)
        order[one], order[other] = order[other], order[one]
    return order
