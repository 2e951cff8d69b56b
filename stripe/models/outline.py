"""Attention that is written out in a ``forward`` is made a module; compilers call that outlining.

``x * self.fc(x.mean((2, 3))).sigmoid()`` in a block's forward becomes ``self.attention(x)``, and the layers that only
the gate needs go into ``attention``; whatever takes the place of a module can then take the place of this attention,
too. A gate that is computed of other values than the map is given them: ``self.attention(x, y)``.
"""

import copy
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import fx, nn
from torch.utils._pytree import tree_leaves

from stripe.errors import StripeError
from stripe.modes import evaluating

__all__ = [
    "SHARED",
    "WHOLE",
    "Outline",
    "calls_of",
    "is_given",
    "merge",
    "outline",
    "outline_undoably",
    "replace_module",
    "tails",
    "tidy",
    "trace",
]

_MULTIPLICATIONS = frozenset({"mul", "imul", "multiply", "mul_", "multiply_"})  # as torch.fx names them
_MAKERS = ("zeros", "ones", "full", "empty", "arange", "rand", "randn")

WHOLE = -1
"""In the place of the gate's number: the call takes the map alone, and computes the gate itself."""

SHARED = -2
"""Likewise; the module stays the one that is called elsewhere, too: it keeps something from call to call (DIA)."""


class Outline(NamedTuple):
    """A multiplication in the forward of a block.

    Attributes:
        block: Path of the module in whose forward it stands; empty for the network itself.
        product: The number of the multiplication among those of two values there, from 0; or, where it is no such
            multiplication but the call of a module or of another function, the name of its node in the traced graph.
        operand: The number of the value that is the gate, 0 or 1; `WHOLE` or `SHARED` where the call computes the gate
            itself.
    """

    block: str
    product: int | str
    operand: int


def replace_module(model: nn.Module, path: str, module: nn.Module) -> nn.Module:
    """Put a module in another's place, under every name that it has there, and return the one that was there."""
    old = model.get_submodule(path)
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child is old:
                parent._modules[name] = module
    return old


def trace(model: nn.Module, path: str) -> fx.Graph:
    """The graph of a block's forward in evaluation mode, in which the modules that it calls are one node each.

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
            return _Shallow().trace(block, concrete_args=defaults)
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
    """Follows a forward, but not those of the modules that it calls."""

    proxy_buffer_attributes = True  # else what is computed of them becomes a constant

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """The parts of a map, where the code says how many they are."""
        given = [value for value in (*obj.node.args[1:2], *obj.node.kwargs.values()) if not isinstance(value, fx.Node)]
        count = given[0] if given and _name(obj.node.target) in ("chunk", "split") else None
        if _name(obj.node.target) == "split" and isinstance(count, int):
            count = None  # the size of each
        if isinstance(count, list | tuple):
            count = len(count)
        parts: Any = obj
        return (parts[number] for number in range(count)) if isinstance(count, int) else super().iter(obj)


def calls_of(graph: fx.Graph, block: str, name: str) -> list[Outline]:
    """The ways in which a node of a traced graph can be a multiplication by a gate.

    Args:
        graph: The graph, see `trace`.
        block: Path of its block.
        name: Name of the node.

    Returns:
        One for each value that could be the gate; none where the node is no call of one or two values.
    """
    node = next((node for node in graph.nodes if node.name == name), None)
    if node is None or not node.op.startswith("call_"):
        return []
    values, products = _operands(node), _products(graph)
    if len(values) == 1:
        return [Outline(block, name, WHOLE), Outline(block, name, SHARED)]
    product = products.index(node) if node in products else name
    return [Outline(block, product, operand) for operand in (1, 0)] if len(values) == 2 else []


def is_given(graph: fx.Graph, where: Outline) -> bool:
    """Whether a block is given the gate, or what it only gives another shape: it is computed by who calls the block."""
    _, feature_map, gate = _find(graph, where)
    waiting = [] if gate is None else [gate]
    for node in waiting:
        if node is feature_map or node.op in ("call_module", "get_attr"):
            return False
        waiting += [value for value in node.all_input_nodes if value not in waiting]
    return bool(waiting)


def outline(model: nn.Module, where: Outline) -> str:
    """Make the gate and its multiplication a module of the block, ``attention``, in place.

    The block becomes a `torch.fx.GraphModule` of what its forward does in evaluation mode, always: its
    functional dropout is off from then on, and its forward hooks are gone. The caller has to check that the network
    computes the same, which it may not where the forward changes tensors in place.

    Args:
        model: The network, in which the block is replaced; it becomes a graph itself where the block is the network.
        where: The multiplication.

    Returns:
        Path of the new module; it takes the map, and perhaps what else the gate is computed of, and returns the map
        multiplied. Where a module that is called elsewhere, too, computed the gate, the new one has a copy of it, or
        shares it.

    Raises:
        StripeError: There is no such multiplication, or the forward cannot be traced.
    """
    return outline_undoably(model, where)[0]


def outline_undoably(model: nn.Module, where: Outline) -> tuple[str, Callable[[], None]]:
    """As `outline`; returns also what undoes it."""
    graph = trace(model, where.block)
    old = model.get_submodule(where.block)
    block = fx.GraphModule(old, graph, type(old).__name__)
    product, feature_map, gate = _find(block.graph, where)
    name = next(name for name in ("attention", *map("attention{}".format, range(2, 999))) if not hasattr(block, name))
    attention, others = _extract(block, feature_map, gate, product)
    if where.operand == WHOLE:  # each call has its own from now on
        setattr(attention, str(product.target), copy.deepcopy(block.get_submodule(str(product.target))))
    block.add_submodule(name, attention)
    with block.graph.inserting_after(product):
        call = block.graph.call_module(name, (feature_map, *others))
    product.replace_all_uses_with(call)
    block.graph.erase_node(product)
    return f"{where.block}.{name}".lstrip("."), _open(model, where.block, block)


def tails(model: nn.Module, path: str) -> list[tuple[str, fx.GraphModule]]:
    """What is computed of the map and a gate's product alone, and could be one with the gate.

    Args:
        model: The network.
        path: Path of the gate's module in the graph of a block.

    Returns:
        Names of nodes in that graph, from the last to the first, each with the function from the map to its value.
    """
    parent, _, name = path.rpartition(".")
    block = model.get_submodule(parent)
    if not isinstance(block, fx.GraphModule):
        return []
    call, feature_map = _call_of(block, name)
    constant: set[fx.Node] = set()
    region = {call}
    for node in block.graph.nodes:
        inputs = set(node.all_input_nodes)
        if node.op == "get_attr" or (node.op.startswith("call_") and inputs and inputs <= constant):
            constant.add(node)
        elif inputs & region and inputs <= region | constant | {feature_map} and _is_function(block, node):
            region.add(node)
    found = []
    for node in reversed(block.graph.nodes):
        if node in region and node is not call:
            inside = _between(feature_map, node, node)
            if all(set(each.users) <= inside for each in inside - {node} if each.op != "get_attr"):
                found.append((node.name, _module(block, feature_map, inside, node, {})))
    return found


def merge(model: nn.Module, path: str, until: str) -> None:
    """Let a gate take the place of all that is computed of its map up to a node, in place.

    Args:
        model: The network.
        path: Path of the gate's module in the graph of a block.
        until: The name of the node, see `tails`.

    Raises:
        StripeError: There is no such gate or node.
    """
    parent, _, name = path.rpartition(".")
    block = model.get_submodule(parent)
    end = next((node for node in getattr(block, "graph", fx.Graph()).nodes if node.name == until), None)
    if not isinstance(block, fx.GraphModule) or end is None:
        raise StripeError(f"there is no {until} behind {path}")
    _, feature_map = _call_of(block, name)
    with block.graph.inserting_after(end):
        call = block.graph.call_module(name, (feature_map,))
    end.replace_all_uses_with(call)
    _open(model, parent, block)


def _call_of(block: fx.GraphModule, name: str) -> tuple[fx.Node, fx.Node]:
    """The call of a gate, and its map."""
    calls = [node for node in block.graph.nodes if node.op == "call_module" and node.target == name]
    if len(calls) != 1 or not _operands(calls[0]):
        raise StripeError(f"{name} is called {len(calls)} times")
    return calls[0], _operands(calls[0])[0]


def _is_function(block: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node is no module with parameters."""
    if node.op != "call_module":
        return node.op in ("call_function", "call_method")
    return next(block.get_submodule(str(node.target)).parameters(), None) is None


def tidy(model: nn.Module, kinds: tuple[type[nn.Module], ...]) -> None:
    """Take away what only a gate needed that is a constant now, in place.

    Args:
        model: The network.
        kinds: The classes of the modules that need the map alone, whatever else they are given.
    """
    for path, block in list(model.named_modules()):
        if not isinstance(block, fx.GraphModule):
            continue
        calls = [node for node in block.graph.nodes if node.op == "call_module" and len(_operands(node)) > 1]
        needless = [node for node in calls if isinstance(block.get_submodule(node.target), kinds)]
        for node in needless:
            node.args, node.kwargs = node.args[:1], {}
        if needless:
            _open(model, path, block)


def _open(model: nn.Module, path: str, block: fx.GraphModule) -> Callable[[], None]:
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


def _find(graph: fx.Graph, where: Outline) -> tuple[fx.Node, fx.Node, fx.Node | None]:
    """The multiplication, its map and its gate."""
    block, products = where.block or "the network", _products(graph)
    if isinstance(where.product, str):
        product = next((node for node in graph.nodes if node.name == where.product), None)
    else:
        product = products[where.product] if 0 <= where.product < len(products) else None
    values = _operands(product) if product and product.op.startswith("call_") else []
    if (
        product is None
        or len(values) not in (1, 2)
        or where.operand not in ((0, 1) if len(values) == 2 else (WHOLE, SHARED))
    ):
        raise StripeError(f"{block} has {len(products)} multiplications; {where} is none of them")
    if not product.users:
        raise StripeError(f"{block} does not use the result of its multiplication {where.product}")
    if where.operand in (WHOLE, SHARED):
        return product, values[0], None
    return product, values[1 - where.operand], values[where.operand]


def _products(graph: fx.Graph) -> list[fx.Node]:
    return [node for node in graph.nodes if _name(node.target) in _MULTIPLICATIONS and len(_operands(node)) == 2]


def _name(target: Any) -> str:
    return target if isinstance(target, str) else getattr(target, "__name__", "")


def _operands(node: fx.Node) -> list[fx.Node]:
    return [value for value in (*node.args, *node.kwargs.values()) if isinstance(value, fx.Node)]


def _extract(
    block: fx.GraphModule, feature_map: fx.Node, gate: fx.Node | None, product: fx.Node
) -> tuple[fx.GraphModule, list[fx.Node]]:
    """What computes the gate, and the multiplication; and the values besides the map that it is computed of."""
    inside = {product} if gate is None else _between(feature_map, gate, product) or _alone(feature_map, product)
    others = dict.fromkeys(
        value
        for node in block.graph.nodes
        if node in inside
        for value in node.all_input_nodes
        if value is not feature_map and value not in inside
    )
    attention = _module(block, feature_map, inside, product, others)
    return attention, list(others)


def _module(
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


def _between(feature_map: fx.Node, gate: fx.Node, product: fx.Node) -> set[fx.Node]:
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


def _alone(feature_map: fx.Node, product: fx.Node) -> set[fx.Node]:
    """The multiplication, and all that nothing but it needs."""
    inside = {product}
    for node in reversed(product.graph.nodes):  # users come before what they use
        called = node.op not in ("placeholder", "output")
        if called and node is not feature_map and node.users and set(node.users) <= inside:
            inside.add(node)
    return inside
