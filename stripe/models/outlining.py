"""Attention that is written out in the ``forward`` of a block becomes a module of its own.

Compilers call it outlining. ``x * self.fc(x.mean((2, 3))).sigmoid()`` in a block's forward becomes
``self.attention(x)``, the layers that only the gate needs go into ``attention``; whatever takes the place of a module
can then take the place of this attention, too.
"""

import inspect
from typing import Any, NamedTuple

from torch import fx, nn

from stripe.errors import StripeError
from stripe.models.replacing import replace_module
from stripe.modes import evaluating

__all__ = ["Outline", "outline", "outlines"]

_MULTIPLICATIONS = frozenset({"mul", "imul", "multiply", "mul_", "multiply_"})  # as torch.fx names them


class Outline(NamedTuple):
    """Which multiplication of a block.

    Attributes:
        block: Path of the module in whose forward it stands.
        product: Which multiplication of two values there, from 0.
        operand: Which of the two is the gate, 0 or 1.
    """

    block: str
    product: int
    operand: int


def outlines(model: nn.Module, block: str) -> list[Outline]:
    """The multiplications of two values that stand in a block's forward, each with either value as the gate.

    Raises:
        StripeError: The forward cannot be traced: it has branches that depend on values, say.
    """
    return [
        Outline(block, number, operand) for number in range(len(_products(_trace(model, block)))) for operand in (1, 0)
    ]


def outline(model: nn.Module, where: Outline) -> str:
    """Make the gate and its multiplication a module of the block, ``attention``, in place.

    The block becomes a `torch.fx.GraphModule` of what its forward does in evaluation mode, always: functional dropout
    in it is off from then on, and forward hooks of it are gone. Whether the network computes the same is for the caller
    to see; a forward that changes tensors in place, say, may not survive it.

    Args:
        model: The block is replaced in it.
        where: The multiplication.

    Returns:
        Path of the new module; it takes the map and returns it multiplied.

    Raises:
        StripeError: There is no such multiplication, or its gate is computed of something else than the map.
    """
    graph = _trace(model, where.block)
    old = model.get_submodule(where.block)
    block = fx.GraphModule(old, graph, type(old).__name__)
    products = _products(block.graph)
    if not 0 <= where.product < len(products) or where.operand not in (0, 1):
        raise StripeError(f"{where.block} has {len(products)} multiplications; {where} is none of them")
    product = products[where.product]
    if not product.users:
        raise StripeError(f"{where.block} does not use the result of its multiplication {where.product}")
    pair = _operands(product)
    gate, feature_map = pair[where.operand], pair[1 - where.operand]
    name = next(name for name in ("attention", *map("attention{}".format, range(2, 99))) if not hasattr(block, name))
    block.add_submodule(name, _extract(block, feature_map, gate, product))
    with block.graph.inserting_after(product):
        call = block.graph.call_module(name, (feature_map,))
    product.replace_all_uses_with(call)
    block.graph.erase_node(product)
    block.graph.eliminate_dead_code()
    opened = fx.GraphModule(block, block.graph, type(old).__name__)  # takes along only what its graph uses
    for key, value in vars(old).items():
        if key not in vars(opened) and isinstance(value, int | float | str | tuple | None):  # others may ask its stride
            setattr(opened, key, value)
    replace_module(model, where.block, opened)
    return f"{where.block}.{name}"


def _trace(model: nn.Module, path: str) -> fx.Graph:
    if not path:
        raise StripeError("that stands in its own forward; give the part of the network a module of its own")
    try:
        block = model.get_submodule(path)
    except AttributeError as error:
        raise StripeError(f"there is no module {path}") from error
    # a block is called as its network calls it; what is left to its default stays that
    parameters = inspect.signature(block.forward).parameters.values()
    defaults = {each.name: each.default for each in parameters if each.default is not each.empty}
    try:
        with evaluating(block):
            return _Shallow().trace(block, concrete_args=defaults)
    except Exception as error:  # a forward may fail in its own way
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise StripeError(f"its forward cannot be traced ({reason})") from error


class _Shallow(fx.Tracer):
    """Follows a forward, but not those of the modules that it calls."""

    proxy_buffer_attributes = True  # else what is computed of them becomes a constant

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def _products(graph: fx.Graph) -> list[fx.Node]:
    return [node for node in graph.nodes if _name(node.target) in _MULTIPLICATIONS and len(_operands(node)) == 2]


def _name(target: Any) -> str:
    return target if isinstance(target, str) else getattr(target, "__name__", "")


def _operands(node: fx.Node) -> list[fx.Node]:
    return [value for value in (*node.args, *node.kwargs.values()) if isinstance(value, fx.Node)]


def _extract(block: fx.GraphModule, feature_map: fx.Node, gate: fx.Node, product: fx.Node) -> fx.GraphModule:
    """What computes the gate from the map, and the multiplication."""
    inside, waiting = {product}, [gate]
    while waiting:
        node = waiting.pop()
        if node is feature_map or node in inside:
            continue
        if node.op == "placeholder":
            raise StripeError(f"the gate is computed of {node.target}, too, and not of the map alone")
        inside.add(node)
        waiting += node.all_input_nodes
    graph = fx.Graph()
    copies = {feature_map: graph.placeholder("x")}
    for node in block.graph.nodes:
        if node in inside:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(copies[product])
    return fx.GraphModule(block, graph, "Attention")
