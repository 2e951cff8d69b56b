"""Discovery: every place of a forward pass where a map is multiplied by something that broadcasts over it."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode

from stripe.capture.gating import MULTIPLICATIONS, Gating, classify, operands, strip_expanded
from stripe.capture.modes import as_input, foreign_forward
from stripe.capture.unwrap import unwrap
from stripe.errors import StripeError
from stripe.modes import evaluating

__all__ = ["Site", "discover", "discover_unbuilt"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Site:
    """A multiplication of a map by a gate that broadcasts over it.

    Attributes:
        name: Path of the module whose ``forward`` multiplies; ``#2``, ``#3`` … is added for its further sites.
        kind: ``channel``, ``spatial``, ``strip``, ``branch``, ``sample`` or ``other``: the axes that survive.
        owner: Class name of that module.
        dims: Names of the axes of a recorded value, without the image axis.
        shape: Their sizes.
        map_shape: Shape of the map, without the batch axis.
        input_dependent: Whether the gate depends on the image; False for layer scale, ASR and the like.
        module: Path of the owner, ``""`` for the model itself.
        call: Which call of the owner within one forward pass, from 0.
        product: Which multiplication of two tensors within that call (its submodules' included), from 0.
        operand: Which operand is the gate, 0 or 1.
        products: How many multiplications there are in that call, by which a forward pass that differs is noticed.
    """

    name: str
    kind: str
    owner: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    map_shape: tuple[int, ...]
    input_dependent: bool
    module: str
    call: int
    product: int
    operand: int
    products: int

    def describe(self) -> dict[str, Any]:
        """The row of ``stripe inspect``: name, kind, shape of the map, input_dependent, owner."""
        return {
            "name": self.name,
            "kind": self.kind,
            "shape": self.map_shape,
            "input_dependent": self.input_dependent,
            "owner": self.owner,
        }


@dataclass(frozen=True)
class _Product:
    """One multiplication seen in a forward pass."""

    module: str
    call: int
    product: int
    operand: int
    gating: Gating | None
    input_dependent: bool
    # Both operands depend on the image and the map is a single pixel: a gate looks like any other factor.
    ambiguous: Gating | None
    products: int = 0


def discover(model: nn.Module, sample: Tensor) -> list[Site]:
    """Find every site of a model, in the order of its forward pass.

    The model runs once (in evaluation mode, restored afterwards) under a ``TorchFunctionMode`` that sees the
    multiplications, while forward hooks tell which module is running. Whether a gate depends on the image is
    answered by autograd: only the input requires a gradient, so ``gate.requires_grad`` says it. Where the graph was
    cut (``detach``, ``no_grad``, hard gates) the values of two different images are compared.

    Not seen are products that are no multiplications of tensors in Python (``einsum``, ``matmul``, TorchScript), and
    gates that were copied to the size of the map (``repeat``, ``interpolate``).

    Args:
        model: Any module that takes a batch of images; wrappers are taken off.
        sample: (N, C, H, W), a batch of images as the model expects them, on its device. One image is enough.

    Returns:
        The sites, constant ones included (``input_dependent`` is False for those).

    Raises:
        StripeError: The model is TorchScript, does not run on the sample, or the sample is not floating-point.

    Example:
        >>> import torch, torchvision
        >>> sites = discover(torchvision.models.mobilenet_v3_small(), torch.rand(2, 3, 64, 64))
        >>> sites[0].name, sites[0].kind, sites[0].shape
        ('features.1.block.1', 'channel', (16,))
    """
    model = unwrap(model)
    sample = as_input(model, sample)
    if sample.shape[0] < 2:  # a second image, and a different one
        sample = torch.cat([sample[:1], 0.5 * sample[:1].flip(-1)])
    products = _forward(model, sample)
    if any(product.ambiguous for product in products):
        products = _resolve_single_pixels(model, sample, products)
    owners = {name: type(module).__name__ for name, module in model.named_modules(remove_duplicate=False)}
    return _name(products, owners)


def discover_unbuilt(build: Callable[[], nn.Module], sample_shape: Sequence[int]) -> list[Site]:
    """Find the sites of a model without allocating its weights.

    Model and input are fake tensors that have shapes but no values, so that even a model of many gigabytes takes a
    second. The few models whose constructors need real values are built for real.

    Args:
        build: Makes the model.
        sample_shape: (N, C, H, W) of the input.

    Returns:
        As [discover][stripe.capture.discover].
    """
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            return discover(build(), torch.empty(*sample_shape))
    except Exception as error:
        logger.debug("discovery without weights failed, building the model for real: %s", error)
    return discover(build(), torch.rand(*sample_shape))


class _Watcher(TorchFunctionMode):
    """Notes every multiplication of two tensors together with the modules that are running."""

    def __init__(self, source: Tensor) -> None:
        super().__init__()
        self.source = source
        self.batch = source.shape[0]
        self.stack: list[tuple[str, int]] = []
        self.calls: Counter[str] = Counter()
        self.counts: Counter[tuple[str, int]] = Counter()
        self.products: list[_Product] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in MULTIPLICATIONS and (pair := operands(args, kwargs)):
            self._note(pair)
        return func(*args, **kwargs)

    def _note(self, pair: tuple[Tensor, Tensor]) -> None:
        gating, operand = None, 0
        for index, (gate, feature_map) in enumerate((pair, pair[::-1])):
            if gate.ndim > feature_map.ndim or _is_expanded(feature_map) or not self._depends(feature_map):
                continue
            gating = classify(feature_map, strip_expanded(gate, feature_map.ndim), self.batch)
            if gating:
                operand = index
                break
        if gating and not self._keeps_images_together(pair[operand]):
            logger.warning("a gate in %s mixes images in its batch axis; it is left out", self.stack[-1][0] or "model")
            gating = None
        module, call = self.stack[-1]
        self.products.append(
            _Product(
                module,
                call,
                self.counts[module, call],
                operand,
                gating,
                pair[operand].requires_grad or self._differs(pair[operand]),
                None if gating else self._single_pixel(pair),
            )
        )
        # Counted for every module that is running: which multiplication it is then doesn't depend on hooks of others.
        for frame in dict.fromkeys(self.stack):
            self.counts[frame] += 1

    def _depends(self, feature_map: Tensor) -> bool:
        """Whether a map depends on the images; where autograd is off, whether theirs differ."""
        return feature_map.requires_grad or (not torch.is_grad_enabled() and self._differs(feature_map))

    def _differs(self, values: Tensor) -> bool:
        """Whether the values of the first two images differ; False proves nothing."""
        if isinstance(values, FakeTensor | nn.Parameter) or values.ndim < 2 or values.shape[0] % self.batch:
            return False
        rows = values.detach()[:: values.shape[0] // self.batch]
        return not torch.equal(rows[0], rows[1])

    def _keeps_images_together(self, gate: Tensor) -> bool:
        """Whether a batch axis of N·k rows holds the k rows of image 0 first: only they then depend on it."""
        groups, rest = divmod(gate.shape[0], self.batch)
        if groups < 2 or rest or not gate.requires_grad or isinstance(gate, FakeTensor):
            return True
        try:
            with torch.enable_grad():
                total = gate[:groups].double().square().sum()
            (gradient,) = torch.autograd.grad(total, self.source, retain_graph=True)
        except RuntimeError:  # the graph can't be gone through; nothing speaks against it
            return True
        return not gradient[1:].any()

    def _single_pixel(self, pair: tuple[Tensor, Tensor]) -> Gating | None:
        a, b = pair
        if a.shape != b.shape or a.ndim != 4 or tuple(a.shape[2:]) != (1, 1) or a.shape[0] != self.batch:
            return None
        if not (a.requires_grad and b.requires_grad) or a is b:
            return None
        return Gating("channel", ("channel",), (a.shape[1],), tuple(a.shape[1:]))


def _is_expanded(tensor: Tensor) -> bool:
    return any(stride == 0 and size > 1 for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def _forward(model: nn.Module, sample: Tensor) -> list[_Product]:
    """Run the model once and return what was multiplied."""
    source = sample.detach().requires_grad_()
    watcher = _Watcher(source)

    def enter(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            watcher.stack.append((name, watcher.calls[name]))
            watcher.calls[name] += 1

        return hook

    def leave(*_: Any) -> None:
        watcher.stack.pop()

    handles = []
    try:
        for name, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(enter(name)))
            handles.append(module.register_forward_hook(leave, always_call=True))
        # `clone` makes it a non-leaf, which a model may change in place
        with foreign_forward(model, sample), evaluating(model), _frozen(model), torch.enable_grad(), watcher:
            model(source.clone())
    finally:
        for handle in handles:
            handle.remove()
    return [replace(p, products=watcher.counts[p.module, p.call]) for p in watcher.products]


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """No parameter requires a gradient within, so that whatever does depends on the input."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def _resolve_single_pixels(model: nn.Module, sample: Tensor, products: list[_Product]) -> list[_Product]:
    """Tell gates from other factors where the map is one pixel, by looking at larger images.

    A small image leaves one pixel in the last stage of a deep network; gate and map then have the same shape. On
    larger images they don't, and the n-th multiplication of a module is the same one.
    """
    scale = max(2, -(-64 // min(sample.shape[2:])))
    try:
        larger = _forward(model, F.interpolate(sample, scale_factor=scale))
    except StripeError as error:
        logger.debug("no larger images: %s", error)
        larger = []
    if [(p.module, p.call, p.product) for p in products] != [(p.module, p.call, p.product) for p in larger]:
        count = sum(product.ambiguous is not None for product in products)
        logger.warning(
            "%d multiplications of single-pixel maps can't be told from ordinary ones; give larger images",
            count,
        )
        return products
    return [
        replace(seen, gating=seen.ambiguous, operand=large.operand, input_dependent=large.input_dependent)
        if seen.ambiguous and large.gating and large.gating.kind == "channel"
        else seen
        for seen, large in zip(products, larger, strict=True)
    ]


def _name(products: list[_Product], owners: dict[str, str]) -> list[Site]:
    sites = []
    seen: Counter[str] = Counter()
    for product in products:
        if product.gating is None:
            continue
        gating = product.gating
        path = product.module.replace("/", "_") or "model"  # a slash would be a group in the file
        seen[path] += 1
        sites.append(
            Site(
                name=path if seen[path] == 1 else f"{path}#{seen[path]}",
                kind=gating.kind,
                owner=owners[product.module],
                dims=gating.dims,
                shape=gating.shape,
                map_shape=gating.map_shape,
                input_dependent=product.input_dependent,
                module=product.module,
                call=product.call,
                product=product.product,
                operand=product.operand,
                products=product.products,
            )
        )
    return sites
