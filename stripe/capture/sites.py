"""Discovery of the sites of a model: the multiplications of its forward pass in which a gate broadcasts over a map."""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode

from stripe.adapter import Batch, batch_of, eager, ours, run, tensors_in
from stripe.capture.axes import of_images, of_one_image
from stripe.capture.gates import ATTENTION_KINDS, Gating, Shape, classify, strip_expanded
from stripe.capture.products import Product, product_of
from stripe.capture.trace import CLEAN, DEPENDENT, REDUCTIONS, Trace
from stripe.capture.unwrap import unwrap
from stripe.errors import StripeError
from stripe.modes import evaluating

__all__ = ["Site", "discover"]

logger = logging.getLogger(__name__)

# Methods by which values leave torch, where no operator is seen.
_EXITS = frozenset({"item", "tolist", "numpy", "__array__"})
_COMPARISONS = frozenset({"gt", "ge", "lt", "le", "eq", "ne", "isnan", "isfinite"})


# for a site that is described but not recorded
NOWHERE = Shape(0, 1, ())


@dataclass(frozen=True)
class Site:
    """A multiplication of a map by a gate that broadcasts over it.

    Attributes:
        name: Path of the module whose ``forward`` multiplies; ``#2``, ``#3`` … is added for its further sites.
        kind: ``channel``, ``spatial``, ``strip``, ``branch``, ``sample`` or ``other``, after the axes that the gate
            keeps. ``normalization`` is a gate that is one divided by a sum, norm or deviation of values of the
            network. ``mask`` is a gate that tells where the images fulfil a condition. ``product`` is a dot product of
            the map with a mean of maps, written as a multiplication and a sum.
        owner: Class name of the module that multiplies.
        dims: Names of the axes of a recorded value, without the image axis.
        shape: Sizes of these axes.
        map_shape: Shape of the map, without the batch axis.
        input_dependent: Whether the gate depends on the image; False for layer scale, ASR and the like. None if it is
            unknown, because values of the image left torch before the gate was computed.
        module: Path of the owner, ``""`` for the model itself.
        call: Number of the call of the owner within one forward pass, from 0.
        product: Number of the multiplication of two tensors within that call (including submodules), from 0.
        operand: Index of the operand that is the gate, 0 or 1.
        products: Number of multiplications in that call. Another number reveals that a forward pass differs.
        within: Shape of the gate relative to the map.
        residual: Whether the product is added to the map, x + x ⊙ v, so that the map is multiplied by 1 + v.
    """

    name: str
    kind: str
    owner: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    map_shape: tuple[int, ...]
    input_dependent: bool | None
    module: str
    call: int
    product: int
    operand: int
    products: int
    within: Shape = NOWHERE
    residual: bool = False

    @property
    def is_attention(self) -> bool:
        """Whether the gate depends on the image and is not a normalisation, mask or dot product."""
        return self.input_dependent is True and self.kind in ATTENTION_KINDS

    def describe(self) -> dict[str, Any]:
        """Return the row of ``stripe inspect``: name, kind, shape of the map, input_dependent and owner."""
        return {
            "name": self.name,
            "kind": self.kind,
            "shape": self.map_shape,
            "input_dependent": self.input_dependent,
            "owner": self.owner,
        }


@dataclass(frozen=True)
class _Seen:
    """One multiplication seen in a forward pass."""

    module: str
    call: int
    product: int
    operand: int
    gating: Gating | None
    input_dependent: bool | None
    # Set if both operands depend on the image and the map is a single pixel: then a gate looks like any other factor.
    ambiguous: Gating | None
    # Whether the gate is a sum, mean, maximum … of maps without further computation.
    pooled: bool = False
    summed: Callable[[], set[int]] | None = None
    products: int = 0
    # Whether the product was added to the map: asked once the forward pass is over.
    added: Callable[[], bool] | None = None


def discover(model: nn.Module, sample: Any) -> list[Site]:
    """Find every site of a model, in the order of its forward pass.

    The model runs once, in evaluation mode; its mode is restored afterwards. A ``TorchFunctionMode`` sees the
    multiplications, forward hooks tell which module is running, and a ``TorchDispatchMode`` follows which tensors are
    computed from the images. The values themselves are not compared, and discovery works under ``no_grad``, after
    ``detach`` and behind comparisons, too.

    A site is a multiplication, a division, ``where`` or ``masked_fill`` with 0, ``addcmul``, ``addcdiv``, ``lerp`` or
    ``einsum`` of a map and a smaller tensor. Gates of the full size of the map, products that are written as ``matmul``
    or as a convolution, factors that were converted to Python numbers, and TorchScript are not seen.

    Args:
        model: Any module that takes a batch of images; wrappers are taken off.
        sample: A batch of images as the model expects it, of shape (N, C, H, W) or in any form that
            ``stripe.adapter.batch_of`` accepts. One image is enough.

    Returns:
        All sites, including constant factors (whose ``input_dependent`` is False), normalisations and masks.
        ``Site.is_attention`` tells which are attention.

    Raises:
        StripeError: The model is TorchScript, does not run on the sample, or the sample is not floating-point.

    Example:
        >>> import torch, torchvision
        >>> sites = discover(torchvision.models.mobilenet_v3_small(), torch.rand(2, 3, 64, 64))
        >>> sites[0].name, sites[0].kind, sites[0].shape
        ('features.1.block.1', 'channel', (16,))
    """
    model = unwrap(model)
    batch = _two_images(batch_of(sample, model).on(model))
    found = _forward(model, batch)
    if any(seen.ambiguous for seen in found):
        found = _resolve_single_pixels(model, batch, found)
    owners = {name: type(module).__name__ for name, module in model.named_modules(remove_duplicate=False)}
    return _name(found, owners)


def _two_images(batch: Batch) -> Batch:
    """Repeat a single image: with a batch of one, the image axis looks like one that a gate broadcasts over."""
    if len(batch) > 1:
        return batch

    def twice(value: Any) -> Any:
        if isinstance(value, list):
            return [value[0], 0.5 * value[0].flip(-1)]
        return torch.cat([value, value]) if isinstance(value, Tensor) and len(value) == 1 else value

    return replace(batch.replaced(twice(batch.images), twice), labels=batch.labels.repeat(2))


class _Watcher(TorchFunctionMode):
    """A torch function mode that notes every multiplication of two tensors with the modules that are running."""

    def __init__(self, trace: Trace, images: int) -> None:
        super().__init__()
        self.trace = trace
        self.images = images
        self.stack: list[tuple[str, int]] = []
        self.calls: Counter[str] = Counter()
        self.counts: Counter[tuple[str, int]] = Counter()
        self.found: list[_Seen] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in _EXITS and args and isinstance(args[0], Tensor):
            self.trace.leave(args[0])
        product = product_of(func, args, kwargs)
        if product is None or not self.stack:
            return func(*args, **kwargs)
        seen = self._note(product)
        result = func(*args, **kwargs)
        if seen.gating and isinstance(result, Tensor):
            feature_map = product.operands[1 - seen.operand]
            added = getattr(func, "__name__", "").startswith("addcmul") and args[0] is feature_map
            seen = replace(
                seen,
                summed=self.trace.watch_sums(result),
                added=(lambda: True) if added else self.trace.watch_addition(result, feature_map),
            )
        self.found.append(seen)
        return result

    def begin(self) -> None:
        """Begin a forward pass: forget the notes of the one before, which may have failed."""
        self.stack.clear()
        self.calls.clear()
        self.counts.clear()
        self.found.clear()

    @ours
    def _note(self, product: Product) -> _Seen:
        gating, operand, dependent = None, product.candidates[0], None
        for index in product.candidates:
            gating, dependent = self._gating(product, index)
            if gating:
                operand = index
                break
        module, call = self.stack[-1]
        number = self.counts[module, call]
        # Counted for every module that is running, so that the number doesn't depend on which modules have hooks.
        for frame in dict.fromkeys(self.stack):
            self.counts[frame] += 1
        ambiguous = None if gating else self._single_pixel(product)
        pooled = gating is not None and self.trace.origin(product.operands[operand]).operator in REDUCTIONS
        return _Seen(module, call, number, operand, gating, dependent, ambiguous, pooled)

    def _gating(self, product: Product, index: int) -> tuple[Gating | None, bool | None]:
        """How the operand at ``index`` gates the other one, and whether it depends on the images."""
        feature_map = product.operands[1 - index]
        if product.operands[index].ndim > feature_map.ndim or not feature_map.is_floating_point():
            return None, None
        if self.trace.state(feature_map) == CLEAN or _is_expanded(feature_map):
            return None, None
        gate = strip_expanded(product.gate(index), feature_map.ndim)
        state = self.trace.state(gate)
        if state == CLEAN and product.form not in ("mul", "einsum"):
            return None, None  # constant divisors and masks are not reported
        axes = self.trace.axes(feature_map)
        gating = classify(feature_map.shape, axes, gate.shape, self.trace.axes(gate), self.images)
        if gating is None:
            self._say_if_mixed(feature_map, gate, state)
            return None, None
        if state == CLEAN:
            return gating, False
        origin = self.trace.origin(gate)
        if origin.operator == "inverse":
            gating = replace(gating, kind="normalization")
        elif origin.operator in _COMPARISONS and not origin.learned:
            gating = replace(gating, kind="mask")
        if state == DEPENDENT or self._differs(gate, gating.within):
            return gating, True
        return gating, None

    def _say_if_mixed(self, feature_map: Tensor, gate: Tensor, state: int) -> None:
        rows = feature_map.shape[0] if feature_map.ndim else 0
        fits = all(g in (1, m) for m, g in zip(feature_map.shape, gate.shape, strict=True))
        broadcasts = feature_map.ndim > 2 and fits and gate.shape[1:] != feature_map.shape[1:]
        if broadcasts and state != CLEAN and rows > self.images and rows % self.images == 0:
            where = self.stack[-1][0] or "the model"
            logger.warning("a gate in %s mixes images in its batch axis; it is left out", where)

    def _differs(self, gate: Tensor, within: Shape) -> bool:
        """Whether the gate differs between two images. False does not prove that it is constant."""
        rows = gate.detach().movedim(within.image_axis, 0)
        if gate.is_meta or isinstance(gate, FakeTensor) or len(rows) < self.images:
            return False
        first, second = rows[: within.groups], rows[within.groups : 2 * within.groups]
        return not torch.equal(first, second)

    def _single_pixel(self, product: Product) -> Gating | None:
        a, b = product.operands
        if product.form != "mul" or a.shape != b.shape or a.ndim != 4 or tuple(a.shape[2:]) != (1, 1) or a is b:
            return None
        if a.shape[0] != self.images or self.trace.state(a) == CLEAN or self.trace.state(b) == CLEAN:
            return None
        shape = tuple(a.shape[1:])
        return Gating("channel", ("channel",), shape[:1], shape, Shape(0, 1, shape))


def _is_expanded(tensor: Tensor) -> bool:
    return any(stride == 0 and size > 1 for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def _forward(model: nn.Module, batch: Batch) -> list[_Seen]:
    """Run the model once and return the multiplications that were seen."""
    trace = Trace(model)
    watcher = _Watcher(trace, len(batch))

    def enter(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            watcher.stack.append((name, watcher.calls[name]))
            watcher.calls[name] += 1

        return hook

    def leave(*_: Any) -> None:
        watcher.stack.pop()

    def begin(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        watcher.begin()
        lists = [value for value in (*args, *kwargs.values()) if isinstance(value, list | tuple)]
        own = {id(tensor) for tensor in tensors_in(lists)}  # each image is a tensor of its own
        trace.apart = len(batch) if own else 0
        for tensor in tensors_in((args, kwargs)):
            axes_of = of_one_image if id(tensor) in own else of_images
            trace.source(tensor, axes_of(tensor.shape))

    handles = [model.register_forward_pre_hook(begin, with_kwargs=True)]
    try:
        for name, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(enter(name)))
            handles.append(module.register_forward_hook(leave, always_call=True))
        with evaluating(model), torch.no_grad(), eager(), trace, watcher:
            run(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    return [_by_sum(replace(seen, products=watcher.counts[seen.module, seen.call])) for seen in watcher.found]


def _by_sum(seen: _Seen) -> _Seen:
    """Correct the kind of a gate by the axes over which its product is summed afterwards.

    Groups of channels that are summed are branches. If the sum goes over all axes that the gate has, and the gate is
    a plain mean, the two operations are a dot product with that mean.
    """
    gating = seen.gating
    if gating is None or seen.summed is None or not seen.summed():
        return seen
    kept = [i for i, size in enumerate(gating.within.sizes) if size > 1]
    axes = [axis if axis < gating.within.image_axis else axis + 1 for axis in kept]
    if seen.summed() == set(axes) and seen.pooled and gating.kind in ATTENTION_KINDS:
        return replace(seen, gating=replace(gating, kind="product"))
    if gating.kind != "channel" or len(axes) != 2 or seen.summed() != {axes[0]}:
        return seen
    shape = (gating.within.sizes[kept[0]], gating.within.sizes[kept[1]])
    return replace(seen, gating=replace(gating, kind="branch", dims=("branch", "channel"), shape=shape))


def _resolve_single_pixels(model: nn.Module, batch: Batch, found: list[_Seen]) -> list[_Seen]:
    """Tell gates from other factors of single-pixel maps by a second pass with larger images.

    A small image leaves one pixel in the last stage of a deep network, where gate and map have the same shape. With
    larger images their shapes differ, and the n-th multiplication of a module is still the same one.
    """
    larger: list[_Seen] = []
    if isinstance(batch.images, Tensor) and batch.images.ndim == 4:
        scale = max(2, -(-64 // min(batch.images.shape[2:])))
        try:
            larger = _forward(model, batch.map(lambda images: F.interpolate(images, scale_factor=scale)))
        except StripeError as error:
            logger.debug("no larger images: %s", error)
    if [(p.module, p.call, p.product) for p in found] != [(p.module, p.call, p.product) for p in larger]:
        count = sum(seen.ambiguous is not None for seen in found)
        logger.warning(
            "%d multiplications of single-pixel maps can't be told from ordinary ones; give larger images",
            count,
        )
        return found
    return [
        replace(seen, gating=seen.ambiguous, operand=large.operand, input_dependent=large.input_dependent)
        if seen.ambiguous and large.gating and large.gating.kind == "channel"
        else seen
        for seen, large in zip(found, larger, strict=True)
    ]


def _name(found: list[_Seen], owners: dict[str, str]) -> list[Site]:
    """Name the sites by the path of their module; the normalisations and masks of a module are numbered last."""
    sites: list[tuple[int, Site]] = []
    taken: Counter[str] = Counter()
    order = sorted(range(len(found)), key=lambda i: not _is_factor(found[i]))
    for place in order:
        seen = found[place]
        gating = seen.gating
        if gating is None:
            continue
        path = seen.module.replace("/", "_") or "model"  # a slash would make a group in the file
        taken[path] += 1
        site = Site(
            name=path if taken[path] == 1 else f"{path}#{taken[path]}",
            kind=gating.kind,
            owner=owners[seen.module],
            dims=gating.dims,
            shape=gating.shape,
            map_shape=gating.map_shape,
            input_dependent=seen.input_dependent,
            module=seen.module,
            call=seen.call,
            product=seen.product,
            operand=seen.operand,
            products=seen.products,
            within=gating.within,
            residual=seen.added is not None and seen.added(),
        )
        sites.append((place, site))
    return [site for _, site in sorted(sites, key=lambda pair: pair[0])]


def _is_factor(seen: _Seen) -> bool:
    return seen.gating is None or seen.gating.kind in ATTENTION_KINDS
