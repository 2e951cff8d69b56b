"""The graphs of forwards: traced, taken apart, and put in the place of the modules that they were traced from."""

import inspect
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import fx, nn
from torch.utils._pytree import tree_leaves

from stripe.errors import StripeError
from stripe.modes import evaluating

__all__ = ["between", "operands", "part", "put_graph", "replace_module", "target_name", "tidy", "trace"]

_MAKERS = ("zeros", "ones", "full", "empty", "arange", "rand", "randn")


def replace_module(model: nn.Module, path: str, module: nn.Module) -> nn.Module:
    """Put a module in another's place, under every name that it has there, and return the one that was there."""
    old = model.get_submodule(path)
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child is old:
                parent._modules[name] = module
    return old


def trace(model: nn.Module, path: str, opened: Collection[str] = ()) -> fx.Graph:
    """The graph of a block's forward in evaluation mode, in which the modules that it calls are one node each.

    Args:
        model: The network.
        path: Path of the block; empty for the network itself.
        opened: Paths inside the block of the modules that are followed, too, so that those that they call are nodes.

    Raises:
        StripeError: There is no such block, or its forward cannot be traced, because it has branches that depend on
            values, for example.
    """
    try:
        block = model.get_submodule(path)
    except AttributeError as error:
        raise StripeError(f"there is no module {path}") from error
    if isinstance(block, fx.GraphModule):
        graph = fx.Graph()
        graph.output(graph.graph_copy(block.graph, {}))
        return graph
    # a block is called as its network calls it; what is left to its default stays that
    parameters = inspect.signature(block.forward).parameters.values()
    defaults = {each.name: each.default for each in parameters if each.default is not each.empty}
    try:
        with evaluating(block), _sizes_of_proxies(block):
            return _Shallow(opened).trace(block, concrete_args=defaults)
    except Exception as error:  # a forward may fail in its own way
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise StripeError(f"its forward cannot be traced ({reason})") from error


@contextmanager
def _sizes_of_proxies(block: nn.Module) -> Iterator[None]:
    """Within, sizes that are traced may be asked for by ``len(x)`` in a block's own code, and tensors made of them."""

    def length(value: Any) -> Any:
        return value.shape[0] if isinstance(value, fx.Proxy) else len(value)  # type: ignore[index]

    def traced(function: Callable[..., Any]) -> Callable[..., Any]:
        def maker(*args: Any, **kwargs: Any) -> Any:
            proxy = next((leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, fx.Proxy)), None)
            if proxy is None:
                return function(*args, **kwargs)
            return proxy.tracer.create_proxy("call_function", function, args, kwargs)

        return maker

    scopes = [vars(sys.modules[kind.__module__]) for kind in type(block).__mro__ if kind.__module__ in sys.modules]
    with ExitStack() as stack:
        for scope in scopes:
            if not scope["__name__"].startswith(("torch.", "builtins")) and "len" not in scope:
                scope["len"] = length
                stack.callback(scope.pop, "len")
        for name in _MAKERS:
            stack.callback(setattr, torch, name, getattr(torch, name))
            setattr(torch, name, traced(getattr(torch, name)))
        yield


class _Shallow(fx.Tracer):
    """Follows a forward, but not those of the modules that it calls, except for a few."""

    proxy_buffer_attributes = True  # else what is computed of them becomes a constant

    def __init__(self, opened: Collection[str] = ()) -> None:
        super().__init__()
        self.opened = opened

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name not in self.opened

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """The parts of a map, where the code says how many they are."""
        given = [value for value in (*obj.node.args[1:2], *obj.node.kwargs.values()) if not isinstance(value, fx.Node)]
        count = given[0] if given and target_name(obj.node.target) in ("chunk", "split") else None
        if target_name(obj.node.target) == "split" and isinstance(count, int):
            count = None  # the size of each
        if isinstance(count, list | tuple):
            count = len(count)
        parts: Any = obj
        return (parts[number] for number in range(count)) if isinstance(count, int) else super().iter(obj)


def put_graph(model: nn.Module, path: str, block: fx.GraphModule) -> Callable[[], None]:
    """Put a graph, without what it does not need, in a module's place; the function returned puts the module back."""
    old = model.get_submodule(path)
    block.graph.eliminate_dead_code()
    opened = fx.GraphModule(block, block.graph, type(old).__name__)  # takes along only what its graph uses
    for key, value in vars(old).items():
        if key not in vars(opened) and isinstance(value, int | float | str | tuple | None):  # others may ask its stride
            setattr(opened, key, value)
    if path:
        replace_module(model, path, opened)
        return lambda: void(replace_module(model, path, old))
    before = old.__class__, old.__dict__
    _become(old, opened.__class__, opened.__dict__)
    return lambda: _become(old, *before)


def void(_: object) -> None:
    """Nothing."""


def _become(model: nn.Module, kind: type[nn.Module], state: dict[str, Any]) -> None:
    """Make a network another one, in place: whoever holds it cannot be told of a new one."""
    try:
        object.__setattr__(model, "__class__", kind)
    except TypeError as error:  # classes with __slots__
        raise StripeError(f"a {type(model).__name__} cannot be made a graph ({error})") from error
    object.__setattr__(model, "__dict__", state)


def tidy(model: nn.Module, kinds: tuple[type[nn.Module], ...]) -> None:
    """Take away what only a gate needed that is a constant now, in place.

    Args:
        model: The network.
        kinds: The classes of the modules that need the map alone, whatever else they are given.
    """
    for path, block in list(model.named_modules()):
        if not isinstance(block, fx.GraphModule):
            continue
        calls = [node for node in block.graph.nodes if node.op == "call_module" and len(operands(node)) > 1]
        needless = [node for node in calls if isinstance(block.get_submodule(node.target), kinds)]
        for node in needless:
            node.args, node.kwargs = node.args[:1], {}
        if needless:
            put_graph(model, path, block)


def target_name(target: Any) -> str:
    """The name of what a node calls."""
    return target if isinstance(target, str) else getattr(target, "__name__", "")


def operands(node: fx.Node) -> list[fx.Node]:
    """The values that a node is given as arguments themselves, not inside of a list."""
    return [value for value in (*node.args, *node.kwargs.values()) if isinstance(value, fx.Node)]


def part(
    block: fx.GraphModule, feature_map: fx.Node, inside: set[fx.Node], result: fx.Node, others: Iterable[fx.Node]
) -> fx.GraphModule:
    """A part of a block's graph as a module: of the map and other values, one value."""
    graph = fx.Graph()
    copies = {feature_map: graph.placeholder("x")}
    copies |= {value: graph.placeholder(f"x{number}") for number, value in enumerate(others, 2)}
    for node in block.graph.nodes:
        if node in inside:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(copies[result])
    return fx.GraphModule(block, graph, "Attention")


def between(feature_map: fx.Node, gate: fx.Node, product: fx.Node) -> set[fx.Node]:
    """What lies between the map and the multiplication; nothing where the gate is computed of something else, too."""
    inside, waiting = {product}, [gate, *product.all_input_nodes] if gate is product else [gate]
    while waiting:
        node = waiting.pop()
        if node is feature_map or node in inside:
            continue
        if node.op == "placeholder":
            return set()
        inside.add(node)
        waiting += node.all_input_nodes
    return inside
