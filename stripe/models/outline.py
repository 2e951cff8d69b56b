"""Attention that is written out in a ``forward`` is made a module; compilers call that outlining.

``x * self.fc(x.mean((2, 3))).sigmoid()`` in a block's forward becomes ``self.attention(x)``, and the layers that only
the gate needs go into ``attention``; whatever takes the place of a module can then take the place of this attention,
too. A gate that is computed of other values than the map is given them: ``self.attention(x, y)``.
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import fx, nn

from stripe.errors import StripeError
from stripe.models.graph import between, operands, part, put_graph, target_name, trace

__all__ = ["WHOLE", "Outline", "calls_of", "is_given", "outline", "outline_undoably"]

_MULTIPLICATIONS = frozenset({"mul", "imul", "multiply", "mul_", "multiply_"})  # as torch.fx names them

WHOLE = -1
"""In the place of the gate's number: the call takes the map alone, and computes the gate itself."""


class Outline(NamedTuple):
    """A multiplication in the forward of a block.

    Attributes:
        block: Path of the module in whose forward it stands; empty for the network itself.
        product: The number of the multiplication among those of two values there, from 0; or, where it is no such
            multiplication but the call of a module or of another function, the name of its node in the traced graph.
        operand: The number of the value that is the gate, 0 or 1; `WHOLE` where the call computes the gate itself.
    """

    block: str
    product: int | str
    operand: int


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
    values, products = operands(node), _products(graph)
    if len(values) == 1:
        return [Outline(block, name, WHOLE)]
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
        multiplied. A module that is called elsewhere, too, stays one module: it may keep something from call to call.

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
    block.add_submodule(name, attention)
    with block.graph.inserting_after(product):
        call = block.graph.call_module(name, (feature_map, *others))
    product.replace_all_uses_with(call)
    block.graph.erase_node(product)
    return f"{where.block}.{name}".lstrip("."), put_graph(model, where.block, block)


def _find(graph: fx.Graph, where: Outline) -> tuple[fx.Node, fx.Node, fx.Node | None]:
    """The multiplication, its map and its gate."""
    block, products = where.block or "the network", _products(graph)
    if isinstance(where.product, str):
        product = next((node for node in graph.nodes if node.name == where.product), None)
    else:
        product = products[where.product] if 0 <= where.product < len(products) else None
    values = operands(product) if product and product.op.startswith("call_") else []
    if product is None or len(values) not in (1, 2) or where.operand not in ((0, 1) if len(values) == 2 else (WHOLE,)):
        raise StripeError(f"{block} has {len(products)} multiplications; {where} is none of them")
    if not product.users:
        raise StripeError(f"{block} does not use the result of its multiplication {where.product}")
    if where.operand == WHOLE:
        return product, values[0], None
    return product, values[1 - where.operand], values[where.operand]


def _products(graph: fx.Graph) -> list[fx.Node]:
    return [node for node in graph.nodes if target_name(node.target) in _MULTIPLICATIONS and len(operands(node)) == 2]


def _extract(
    block: fx.GraphModule, feature_map: fx.Node, gate: fx.Node | None, product: fx.Node
) -> tuple[fx.GraphModule, list[fx.Node]]:
    """What computes the gate, and the multiplication; and the values besides the map that it is computed of."""
    inside = {product} if gate is None else between(feature_map, gate, product) or _alone(feature_map, product)
    others = dict.fromkeys(
        value
        for node in block.graph.nodes
        if node in inside
        for value in node.all_input_nodes
        if value is not feature_map and value not in inside
    )
    attention = part(block, feature_map, inside, product, others)
    return attention, list(others)


def _alone(feature_map: fx.Node, product: fx.Node) -> set[fx.Node]:
    """The multiplication, and all that nothing but it needs."""
    inside = {product}
    for node in reversed(product.graph.nodes):  # users come before what they use
        called = node.op not in ("placeholder", "output")
        if called and node is not feature_map and node.users and set(node.users) <= inside:
            inside.add(node)
    return inside
