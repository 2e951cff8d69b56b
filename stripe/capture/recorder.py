"""Recording of the gate, and of the mean and size of the map before it, at every site of each forward pass."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from stripe.adapter import ours, tensors_in
from stripe.capture.gates import strip_expanded
from stripe.capture.products import Product, product_of
from stripe.capture.sites import Site
from stripe.capture.unwrap import unwrap
from stripe.errors import StripeError

__all__ = ["Recorded", "Recorder"]


class Recorded(NamedTuple):
    """The values of one forward pass at one site.

    Attributes:
        attention: Attention values of the gate, of shape (N, *site.shape).
        input: Mean of the map before the multiplication, over the axes that the gate broadcasts over, of shape
            (N, *site.shape). For a channel site this is the global average pooling u of the paper's eq. 3. None if it
            was not recorded.
        input_rms: Root mean square of the map over the same axes, of shape (N, *site.shape): the weight that a change
            of the gate has in the output. None if it was not recorded.
    """

    attention: Tensor
    input: Tensor | None
    input_rms: Tensor | None


class Recorder:
    """A context in which the attention values of each forward pass of a model are recorded.

    Only the modules that own a site are hooked. All values of a batch are packed into one tensor on the device, so
    that they cross to the host in one copy.

    The recorder does not change the mode of the model. For the values of inference, call ``model.eval()`` and use
    ``torch.no_grad()``. In training mode the gates are computed with batch statistics, and the running statistics of
    the model change.

    Args:
        model: The model. Wrappers are taken off; if it was compiled, call ``recorder.model`` inside the context.
        sites: The sites to record, from ``stripe.capture.discover``.
        record_input: Whether the mean and the root mean square of the map are recorded, too.
        dtype: Data type of the recorded values.

    Example:
        >>> import torch, torchvision
        >>> from stripe.capture import discover
        >>> net, images = torchvision.models.mobilenet_v3_small().eval(), torch.rand(4, 3, 64, 64)
        >>> sites = [site for site in discover(net, images) if site.is_attention]
        >>> with torch.no_grad(), Recorder(net, sites) as recorder:
        ...     _ = net(images)
        ...     values = recorder.take()
        >>> values["features.1.block.1"].attention.shape
        torch.Size([4, 16])
    """

    def __init__(
        self,
        model: nn.Module,
        sites: Sequence[Site],
        *,
        record_input: bool = True,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.model = unwrap(model)
        self.sites = list(sites)
        self.record_input = record_input
        self.dtype = dtype
        self._outer = model
        self._wanted: dict[tuple[str, int], dict[int, Site]] = defaultdict(dict)
        self._products: dict[tuple[str, int], int] = {}
        for site in self.sites:
            self._wanted[site.module, site.call][site.product] = site
            self._products[site.module, site.call] = site.products
        self._check_sites()
        self._handles: list[RemovableHandle] = []
        self._watcher = _ProductCounter(self._on_product, self._on_leave)
        self._differing: list[str] = []
        self._seen: dict[str, Recorded] = {}
        self._calls: Counter[str] = Counter()
        self._batch = 0

    def __enter__(self) -> Self:
        modules = dict(self.model.named_modules())
        try:
            self._handles.append(self.model.register_forward_pre_hook(self._begin, with_kwargs=True, prepend=True))
            if self._outer is not self.model and hasattr(self._outer, "_orig_mod"):
                self._handles.append(self._outer.register_forward_pre_hook(_refuse_compiled))
            for name in dict.fromkeys(site.module for site in self.sites):
                self._handles.append(modules[name].register_forward_pre_hook(self._enter(name)))
                # always_call: the mode must be left even when the forward raises, or it would stay for ever
                self._handles.append(modules[name].register_forward_hook(self._leave, always_call=True))
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._remove()
        self._seen.clear()

    def take(self) -> dict[str, Recorded]:
        """Return the values of the last forward pass, copied to the host.

        Returns:
            A dictionary from the name of each site to its values, in the order of ``sites``.

        Raises:
            StripeError: The model has not run, or its forward pass differed from the one at discovery.
        """
        packed = self.take_packed()
        return self.unpack(packed.cpu())

    def take_packed(self) -> Tensor:
        """Return the values of the last forward pass as one tensor (N, K) on the model's device.

        K counts all numbers that are recorded per image. ``unpack`` splits the tensor into sites.

        Raises:
            StripeError: The model has not run, or its forward pass differed from the one at discovery.
        """
        missing = [site.name for site in self.sites if site.name not in self._seen]
        if missing:
            raise StripeError(
                f"{len(missing)} of {len(self.sites)} sites were not reached in the last forward pass "
                f"({', '.join(missing[:3])}…). Run the recorder's model once before taking values, in the mode and on "
                "images of the size that it was discovered with."
            )
        if self._differing:
            raise StripeError(
                f"{self._differing[0] or 'The model'} multiplied another number of times than at discovery, so which "
                "product is the gate is not known. Record in the mode (usually model.eval()) that it was discovered in."
            )
        columns = []
        for site in self.sites:
            columns += [part.reshape(len(part), -1) for part in self._seen[site.name] if part is not None]
        self._seen.clear()
        return torch.cat(columns, dim=1)

    def unpack(self, packed: Tensor) -> dict[str, Recorded]:
        """Split a packed batch into the values of each site, without copying.

        Args:
            packed: The tensor (N, K) that ``take_packed`` returned.
        """
        values, start = {}, 0

        def column(site: Site) -> Tensor:
            nonlocal start
            width = math.prod(site.shape)
            start += width
            return packed[:, start - width : start].reshape(len(packed), *site.shape)

        for site in self.sites:
            attention = column(site)
            of_map = (column(site), column(site)) if self.record_input else (None, None)
            values[site.name] = Recorded(attention, *of_map)
        return values

    def _remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._watcher.leave_all()

    @ours
    def _begin(self, _module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        given = (*args, *kwargs.values())
        images = next((value for value in given if isinstance(value, Tensor) or tensors_in(value)), None)
        if images is None:
            raise StripeError("The model was called without a tensor; its first argument must be the images.")
        first = tensors_in(images)[0]
        # A list holds one image in each entry, everything else one along its first axis.
        self._batch = len(images) if isinstance(images, list | tuple) else first.shape[0] if first.ndim else 1
        self._calls.clear()
        self._seen.clear()
        self._differing.clear()
        self._watcher.leave_all()

    def _enter(self, name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            self._watcher.enter((name, self._calls[name]))
            self._calls[name] += 1

        return hook

    def _leave(self, *_: Any) -> None:
        self._watcher.leave()

    def _check_sites(self) -> None:
        if not self.sites:
            raise StripeError("There are no sites to record: the model has no attention, or none was chosen.")
        modules = dict(self.model.named_modules())
        for site in self.sites:
            if site.module not in modules:
                raise StripeError(f"Site {site.name} is of another model: this one has no module {site.module!r}.")

    def _on_leave(self, frame: tuple[str, int], count: int) -> None:
        if self._products.get(frame, count) != count:
            self._differing.append(frame[0])

    @ours
    def _on_product(self, frame: tuple[str, int], count: int, product: Product) -> None:
        site = self._wanted[frame].get(count) if frame in self._wanted else None
        if site is None:
            return
        feature_map = product.operands[1 - site.operand].detach()
        gate = strip_expanded(product.gate(site.operand).detach(), feature_map.ndim)
        of_map: tuple[Tensor | None, Tensor | None] = (None, None)
        if self.record_input:
            mean, rms = _pooled(feature_map, site)
            of_map = (self._rows(site, mean), self._rows(site, rms))
        self._seen[site.name] = Recorded(self._rows(site, gate), *of_map)

    def _rows(self, site: Site, values: Tensor) -> Tensor:
        """A copy of the values as (N, *site.shape): the model may change the gate in place afterwards."""
        within = site.within
        rows = values.movedim(within.image_axis, 0)
        for axis, size in enumerate(within.sizes, start=1):
            if size == 1 and rows.shape[axis] > 1:  # copies of one value
                rows = rows.narrow(axis, 0, 1)
        if rows.shape[0] == 1 and self._batch * within.groups > 1:
            rows = rows.expand(self._batch * within.groups, *rows.shape[1:])
        if tuple(rows.shape) != (self._batch * within.groups, *within.sizes):
            got, wanted = ("×".join(map(str, sizes)) for sizes in (values.shape, (site.shape)))
            spatial = {"height", "width"} & set(site.dims)
            raise StripeError(
                f"Site {site.name} gave a gate of shape {got} for {self._batch} images, where {wanted or 'one value'} "
                "an image was expected: the forward pass differs from the one at discovery. "
                + (
                    "It has a value for every place of the map: give images of one size (image_size=), or record those "
                    "sites alone that have no height and width (sites=)."
                    if spatial
                    else "Discover the sites on images of the size that you record."
                )
            )
        return rows.reshape(self._batch, *site.shape).to(self.dtype, copy=True)


def _pooled(feature_map: Tensor, site: Site) -> tuple[Tensor, Tensor]:
    """Mean (eq. 3 for a channel gate) and root mean square of the map over the axes that the gate broadcasts over."""
    others = [axis for axis in range(feature_map.ndim) if axis != site.within.image_axis]
    axes = [axis for axis, size in zip(others, site.within.sizes, strict=True) if size == 1]
    if not axes:
        return feature_map, feature_map.abs()
    precise = torch.promote_types(feature_map.dtype, torch.float32)  # squares leave the range of float16
    if feature_map.is_contiguous() or feature_map.is_cuda:
        count = math.prod(feature_map.shape[axis] for axis in axes)
        # One pass that keeps no squares, as square().mean() would.
        rms = torch.linalg.vector_norm(feature_map, 2, axes, keepdim=True, dtype=precise) / math.sqrt(count)
    else:  # which is slow on a CPU where the axes lie apart in memory
        rms = feature_map.to(precise).square().mean(axes, keepdim=True).sqrt()
    return feature_map.mean(axes, keepdim=True), rms


def _refuse_compiled(*_: Any) -> None:
    raise StripeError(
        "The compiled model was called inside a Recorder, where it would bypass the hooks. "
        "Call recorder.model, the module underneath, instead."
    )


class _ProductCounter(TorchFunctionMode):
    """A torch function mode that counts the multiplications in each hooked module while that module runs."""

    def __init__(
        self,
        on_product: Callable[[tuple[str, int], int, Product], None],
        on_leave: Callable[[tuple[str, int], int], None],
    ) -> None:
        super().__init__()
        self._on_product = on_product
        self._on_leave = on_leave
        self._stack: list[tuple[str, int]] = []
        self._counts: Counter[tuple[str, int]] = Counter()

    def enter(self, frame: tuple[str, int]) -> None:
        self._stack.append(frame)
        self._counts[frame] = 0
        if len(self._stack) == 1:
            self.__enter__()  # type: ignore[no-untyped-call]

    def leave(self) -> None:
        frame = self._stack.pop()
        self._on_leave(frame, self._counts[frame])
        if not self._stack:
            self.__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def leave_all(self) -> None:
        while self._stack:
            self.leave()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        product = product_of(func, args, kwargs)
        if product is not None:
            for frame in self._stack:
                self._on_product(frame, self._counts[frame], product)
                self._counts[frame] += 1
        return func(*args, **kwargs)
