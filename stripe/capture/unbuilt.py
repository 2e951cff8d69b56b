"""Discovery in a network whose weights are never allocated."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from stripe.capture.sites import Site, discover

__all__ = ["discover_unbuilt"]

logger = logging.getLogger(__name__)


def discover_unbuilt(build: Callable[[], nn.Module], sample_shape: Sequence[int]) -> list[Site]:
    """Find the sites of a model without allocating its weights.

    Parameters are put onto the meta device as soon as a module registers them; everything else is computed for real
    while the model is built, so that constructors which look at values work. The forward pass runs on that device,
    too, or, where it looks at values that do not depend on the weights, with fake tensors for parameters and input;
    constructors that compute with their weights are given fake tensors throughout. A model of many gigabytes takes
    seconds. The few models that look at values of their weights are built for real.

    Args:
        build: Function that builds the model.
        sample_shape: Shape (N, C, H, W) of the input.

    Returns:
        The sites, as from ``stripe.capture.discover``.
    """
    for attempt in (_on_meta, _with_fake_tensors, _wholly_fake):
        try:
            return attempt(build, sample_shape)
        except Exception as error:  # tensors without values may raise anything
            logger.debug("discovery without weights (%s) failed: %s", attempt.__name__, error)
    return discover(build(), torch.rand(*sample_shape))


def _on_meta(build: Callable[[], nn.Module], sample_shape: Sequence[int]) -> list[Site]:
    with _parameters_on_meta():
        model = build()
    with torch.device("meta"):
        for module in model.modules():
            for name, buffer in module._buffers.items():
                module._buffers[name] = None if buffer is None else buffer.to("meta")
            for name, value in list(vars(module).items()):
                if isinstance(value, Tensor):
                    setattr(module, name, value.to("meta"))
        return discover(model, torch.empty(*sample_shape))


def _with_fake_tensors(build: Callable[[], nn.Module], sample_shape: Sequence[int]) -> list[Site]:
    with _parameters_on_meta():
        model = build()
    with FakeTensorMode(allow_non_fake_inputs=True):
        _give_shapes(model)
        return discover(model, torch.empty(*sample_shape))


def _wholly_fake(build: Callable[[], nn.Module], sample_shape: Sequence[int]) -> list[Site]:
    """Build with fake tensors: some constructors compute with parameters, for example to learn a backbone's sizes."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        with _Initialisation():  # type: ignore[no-untyped-call]
            model = build()
        return discover(model, torch.empty(*sample_shape))


@contextmanager
def _parameters_on_meta() -> Iterator[None]:
    """A context in which new parameters are put onto the meta device, where their initialisation costs nothing."""
    register, set_attribute = nn.Module.register_parameter, nn.Module.__setattr__

    def emptied(parameter: Any) -> Any:
        if not isinstance(parameter, nn.Parameter) or parameter.is_meta or nn.parameter.is_lazy(parameter):
            return parameter
        return nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)

    def register_empty(module: nn.Module, name: str, param: Any) -> None:
        register(module, name, emptied(param))

    def set_empty(module: nn.Module, name: str, value: Any) -> None:
        set_attribute(module, name, emptied(value))

    nn.Module.register_parameter = register_empty  # type: ignore[method-assign, assignment]
    nn.Module.__setattr__ = set_empty  # type: ignore[method-assign, assignment]
    try:
        with _Initialisation():  # type: ignore[no-untyped-call]
            yield
    finally:
        nn.Module.register_parameter = register  # type: ignore[method-assign]
        nn.Module.__setattr__ = set_attribute  # type: ignore[method-assign]


class _Initialisation(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A dispatch mode in which tensors without values give 0 when a constructor asks for a number."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and (args[0].is_meta or isinstance(args[0], FakeTensor)):
            kind = bool if args[0].dtype is torch.bool else float if args[0].is_floating_point() else int
            return kind(0)
        return func(*args, **(kwargs or {}))


def _give_shapes(model: nn.Module) -> None:
    """Make the parameters fake tensors of the CPU, and keep tied ones tied; call it inside a ``FakeTensorMode``."""
    made: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and id(parameter) not in made:
                empty = torch.empty_strided(parameter.shape, parameter.stride(), dtype=parameter.dtype)
                made[id(parameter)] = nn.Parameter(empty, requires_grad=False)
            if parameter is not None:
                module._parameters[name] = made[id(parameter)]
        for name, value in (*module._buffers.items(), *list(vars(module).items())):
            if isinstance(value, Tensor) and value.is_meta:
                empty = torch.empty(value.shape, dtype=value.dtype)
                if name in module._buffers:
                    module._buffers[name] = empty
                else:
                    setattr(module, name, empty)
