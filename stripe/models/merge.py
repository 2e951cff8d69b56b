"""A gate and what is done to its product in a graph, made one.

``x + w * (x * v) + b`` is a factor and a shift of each channel of x where v is constant, and so can be one gate.
"""

from torch import fx, nn

from stripe.errors import StripeError
from stripe.models.graph import between, operands, part, put_graph

__all__ = ["merge", "tails"]


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
            inside = between(feature_map, node, node)
            if all(set(each.users) <= inside for each in inside - {node} if each.op != "get_attr"):
                found.append((node.name, part(block, feature_map, inside, node, {})))
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
    put_graph(model, parent, block)


def _call_of(block: fx.GraphModule, name: str) -> tuple[fx.Node, fx.Node]:
    """The call of a gate, and its map."""
    calls = [node for node in block.graph.nodes if node.op == "call_module" and node.target == name]
    if len(calls) != 1 or not operands(calls[0]):
        raise StripeError(f"{name} is called {len(calls)} times")
    return calls[0], operands(calls[0])[0]


def _is_function(block: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node is no module with parameters."""
    if node.op != "call_module":
        return node.op in ("call_function", "call_method")
    return next(block.get_submodule(str(node.target)).parameters(), None) is None
