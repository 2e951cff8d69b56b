"""Surgery on networks: a module takes the place of another, and attention that became a constant is taken out.

Attention that is written out in the ``forward`` of a block is made a module first; compilers call that outlining.
``x * self.fc(x.mean((2, 3))).sigmoid()`` in a block's forward becomes ``self.attention(x)``, the layers that only the
gate needs go into ``attention``; whatever takes the place of a module can then take the place of this attention, too.
"""

import inspect
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from stripe.errors import StripeError
from stripe.modes import evaluating

__all__ = ["ConstantGate", "Outline", "outline", "outlines", "replace_module", "restructure"]

_MULTIPLICATIONS = frozenset({"mul", "imul", "multiply", "mul_", "multiply_"})  # as torch.fx names them

MOST_CHANNELS = 1 << 20
"""A file that says more is damaged."""


def replace_module(model: nn.Module, path: str, module: nn.Module) -> nn.Module:
    """Put a module in another's place, under every name that it has there, and return the one that was there."""
    old = model.get_submodule(path)
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child is old:
                parent._modules[name] = module
    return old


class Outline(NamedTuple):
    """A multiplication in the forward of a block.

    Attributes:
        block: Path of the module in whose forward it stands.
        product: The number of the multiplication among those of two values there, from 0.
        operand: The number of the factor that is the gate, 0 or 1.
    """

    block: str
    product: int
    operand: int


def outlines(model: nn.Module, block: str) -> list[Outline]:
    """The multiplications of two values that stand in a block's forward, each with either value as the gate.

    Raises:
        StripeError: The forward cannot be traced, because it has branches that depend on values, for example.
    """
    return [
        Outline(block, number, operand) for number in range(len(_products(_trace(model, block)))) for operand in (1, 0)
    ]


def outline(model: nn.Module, where: Outline) -> str:
    """Make the gate and its multiplication a module of the block, ``attention``, in place.

    The block becomes a `torch.fx.GraphModule` of what its forward does in evaluation mode, always: its
    functional dropout is off from then on, and its forward hooks are gone. The caller has to check that the network
    computes the same, which it may not where the forward changes tensors in place.

    Args:
        model: The network, in which the block is replaced.
        where: The multiplication.

    Returns:
        Path of the new module; it takes the map and returns it multiplied.

    Raises:
        StripeError: There is no such multiplication, or its gate is computed from something else than the map.
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


class ConstantGate(nn.Module):
    """``y = x ⊙ v`` with a constant v, one number per channel: what is left of attention that became a constant.

    Args:
        value: v, (C,).
        axis: The axis of the maps that holds the channels, counted from the end: -3 of (N, C, H, W), -1 of (N, T, C).
    """

    def __init__(self, value: Tensor, axis: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(value)
        self.axis = axis

    def forward(self, x: Tensor, /) -> Tensor:
        """Maps (N, C, H, W) or tokens (N, T, C), of the same shape."""
        return x * self.weight.view(-1, *[1] * (-1 - self.axis))

    def extra_repr(self) -> str:
        """What ``print`` shows."""
        return f"{self.weight.numel()}, axis={self.axis}"


def restructure(model: nn.Module, folded: Any, source: str) -> None:
    """Take attention out of a network as a description says, in place. Its weights are to be loaded afterwards.

    Args:
        model: As it was built, with attention.
        folded: A description with two entries. ``outlined``: the attention that had to be made a module first, see
            `Outline`, in the order in which that was done. ``gates``: path of a site's module → None where the constant
            is in the weights around it, else the ``channels`` and the ``axis`` of the multiplication that is left, see
            `ConstantGate`.
        source: The file that the description stands in, for the error.

    Raises:
        StripeError: The description is damaged, or is one of another network.
    """
    try:
        for block, product, operand in folded["outlined"]:
            outline(model, Outline(block, product, operand))
        for path, left in folded["gates"].items():
            if not path:
                raise StripeError("a gate has no name")
            gate = nn.Identity() if left is None else _blank(**left)
            replace_module(model, path, gate.train(model.training))
    except (AttributeError, LookupError, TypeError, ValueError, StripeError) as error:
        raise StripeError(
            f"{source}: what was folded in it does not fit the model ({error or type(folded).__name__}); "
            "name the model that it was folded from with model="
        ) from error


def _blank(channels: int, axis: int) -> ConstantGate:
    if type(channels) is not int or type(axis) is not int or not 0 < channels <= MOST_CHANNELS or not -4 <= axis <= -1:
        raise StripeError(f"{channels!r} channels along the axis {axis!r} are no gate")
    return ConstantGate(torch.ones(channels), axis)
