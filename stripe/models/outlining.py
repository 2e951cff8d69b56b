"""Attention that is written out in the ``forward`` of a block becomes a module of its own.

Compilers call it outlining. ``x * self.fc(x.mean((2, 3))).sigmoid()`` in a block's forward becomes
``self.attention(x)``, the layers that only the gate needs go into ``attention``; whatever takes the place of a module
can then take the place of this attention, too.
"""

from typing import Any, NamedTuple

from torch import fx, nn

from stripe.errors import StripeError
from stripe.models.replacing import replace_module

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

    The block becomes a `torch.fx.GraphModule` of what its forward does in evaluation mode.

    Args:
        model: The block is replaced in it.
        where: The multiplication.

    Returns:
        Path of the new module; it takes the map and returns it multiplied.

    Raises:
        StripeError: There is no such multiplication, or its gate is computed of something else than the map.
    """
    old = model.get_submodule(where.block)
    block = fx.GraphModule(old, _trace(model, where.block), type(old).__name__)
    products = _products(block.graph)
    if where.product >= len(products):
        raise StripeError(f"{where.block} has {len(products)} multiplications, none of number {where.product}")
    product = products[where.product]
    pair = _operands(product)
    gate, feature_map = pair[where.operand], pair[1 - where.operand]
    name = next(name for name in ("attention", *map("attention{}".format, range(2, 99))) if not hasattr(block, name))
    block.add_submodule(name, _extract(block, feature_map, gate, product))
    with block.graph.inserting_after(product):
        call = block.graph.call_module(name, (feature_map,))
    product.replace_all_uses_with(call)
    block.graph.erase_node(product)
    block.graph.eliminate_dead_code()
    # made again, since it takes along only what its graph uses
    replace_module(model, where.block, fx.GraphModule(block, block.graph, type(old).__name__))
    return f"{where.block}.{name}"


def _trace(model: nn.Module, path: str) -> fx.Graph:
    if not path:
        raise StripeError("that stands in its own forward; give the part of the network a module of its own")
    block = model.get_submodule(path)
    training, block.training = block.training, False
    try:
        return _Shallow().trace(block)
    except Exception as error:  # a forward may fail in its own way
        raise StripeError(
            f"its forward cannot be traced ({next(iter(str(error).splitlines()), type(error).__name__)})"
        ) from error
    finally:
        block.training = training


class _Shallow(fx.Tracer):
    """Follows a forward, but not those of the modules that it calls."""

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
