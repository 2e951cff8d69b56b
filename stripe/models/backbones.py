"""Backbones: a classifier in front of its head, cut at its stages, for detectors and segmenters."""

import copy
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, FeaturePyramidNetwork

from stripe.errors import StripeError
from stripe.models.graph import trace
from stripe.modes import evaluating

__all__ = ["Backbone", "Pyramid", "Stage", "backbone_of"]

_HEIGHT, _WIDTH = 256, 192
"""Sides of the image by which stages are found; unequal, so that tokens and maps with channels last are no stages."""

_COARSEST = 32

_ADVICE = "take a convolutional network such as resnet20, torchvision:resnet50 or timm:seresnet50"


class Stage(NamedTuple):
    """The last map of one resolution.

    Attributes:
        stride: Pixels of the image per pixel of the map.
        channels: Channels of the map.
        node: The node of the classifier's graph that computes it.
    """

    stride: int
    channels: int
    node: fx.Node


class Backbone:
    """The stages of a classifier.

    They are found by following the shapes of an image's maps through the classifier's own forward, without computing
    anything. A stage is the last map of one resolution, of which each is a part of the one before.

    Args:
        classifier: Any network whose forward can be traced, of ours, torchvision, timm, or the user.
        name: The name of the classifier, for messages.

    Attributes:
        stages: From the finest to the coarsest.

    Raises:
        StripeError: The forward cannot be traced or does not run on images of any size, or there are no such maps.

    Example:
        >>> from stripe.models import build
        >>> [stage[:2] for stage in Backbone(build("resnet20"), "resnet20").stages]
        [(1, 64), (2, 128), (4, 256)]
    """

    def __init__(self, classifier: nn.Module, name: str) -> None:
        self._classifier = classifier
        try:
            self._graph, shapes = _followed(classifier)
        except Exception as error:  # the code may be the user's: anything may come out of it
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise StripeError(
                f"{name} cannot be a backbone, for which a network must take images of any size: {reason}; {_ADVICE}"
            ) from error
        found: dict[int, Stage] = {}
        for node, shape in shapes.items():
            stride = _HEIGHT // shape[2] if len(shape) == 4 and shape[2] else 0
            whole = stride and (stride * shape[2], stride * shape[3]) == (_HEIGHT, _WIDTH)
            if whole and stride <= _COARSEST and stride >= max(found, default=1):
                found[stride] = Stage(stride, shape[1], node)
        self.stages = list(found.values())
        strides = [stage.stride for stage in self.stages]
        if len(strides) < 2 or any(coarse != 2 * fine for fine, coarse in pairwise(strides)):
            raise StripeError(
                f"{name} cannot be a backbone: its maps do not become half as large from stage to stage; {_ADVICE}"
            )

    def body(self, taken: Mapping[str, Stage]) -> fx.GraphModule:
        """The classifier up to some of its stages; it shares the weights, whose names stay.

        Args:
            taken: Name of an output → the stage.

        Returns:
            A module of the class name of the classifier, images (N, C, H, W) → dictionary of the maps by name.
        """
        needed, waiting = set(), [stage.node for stage in taken.values()]
        while waiting:
            node = waiting.pop()
            if node not in needed:
                needed.add(node)
                waiting += node.all_input_nodes
        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        for node in self._graph.nodes:
            if node in needed or node.op == "placeholder":
                copies[node] = graph.node_copy(node, copies.__getitem__)
        graph.output({name: copies[stage.node] for name, stage in taken.items()})
        return fx.GraphModule(self._classifier, graph, type(self._classifier).__name__)


class Pyramid(nn.Module):
    """A backbone with a feature pyramid on top, with the names of torchvision's ``BackboneWithFPN``.

    Args:
        backbone: The stages of a classifier.
        stages: Those that become levels, from the finest to the coarsest; level i is called ``str(i)``.
        width: Channels of every level.
        extra: Makes further, coarser levels.
    """

    def __init__(self, backbone: Backbone, stages: list[Stage], width: int, extra: ExtraFPNBlock | None) -> None:
        super().__init__()
        self.body = backbone.body({str(level): stage for level, stage in enumerate(stages)})
        self.fpn = FeaturePyramidNetwork([stage.channels for stage in stages], width, extra)
        self.out_channels = width

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Images (N, C, H, W) → maps (N, width, H/stride, W/stride) of the levels, by name."""
        maps: dict[str, Tensor] = self.fpn(self.body(images))
        return maps


def backbone_of(model: nn.Module) -> nn.Module:
    """The classifier inside a detector or segmenter, without its head.

    Args:
        model: A network of ``stripe.models.build``, or of torchvision.

    Returns:
        A module that shares the weights of the network; the keys of its state dict are those of the classifier.

    Raises:
        StripeError: The network has no such part.

    Example:
        >>> from stripe.models import build
        >>> list(backbone_of(build("fcn:resnet20")).state_dict())[:2]
        ['conv1.weight', 'bn1.weight']
    """
    backbone = getattr(model, "backbone", None)
    body = getattr(backbone, "body", backbone)
    if not isinstance(body, nn.Module):
        raise StripeError(f"a {type(model).__name__} has no backbone; detectors and segmenters have one")
    # torchvision takes its MobileNets without their outer module, in which the layers are numbered.
    return nn.ModuleDict({"features": body}) if "0" in dict(body.named_children()) else body


def _followed(classifier: nn.Module) -> tuple[fx.Graph, dict[fx.Node, torch.Size]]:
    """The graph of a classifier, and the shapes of the tensors of its nodes.

    Modules are one node each; but a sequence that holds more than one stage is opened.
    """
    skeleton = _skeleton(classifier)
    convolutions = (layer.in_channels for layer in skeleton.modules() if isinstance(layer, nn.Conv2d))
    image = torch.empty(1, next(convolutions, 3), _HEIGHT, _WIDTH, device="meta")
    sizes: dict[str, int] = {}

    def see(name: str, given: Any, made: Any) -> None:
        if isinstance(given, Tensor) and isinstance(made, Tensor) and given.ndim == made.ndim == 4:
            sizes[name] = given.shape[2] // max(made.shape[2], 1)

    for name, module in skeleton.named_modules():
        if isinstance(module, nn.Sequential):
            module.register_forward_hook(lambda _, given, made, name=name: see(name, given[0], made))
    with evaluating(skeleton), torch.no_grad():
        skeleton(image)
        graph = trace(classifier, "", opened=[name for name, ratio in sizes.items() if ratio > 2])
        shapes = _Shapes(skeleton, graph=graph)
        shapes.run(image)
    return graph, shapes.found


def _skeleton(model: nn.Module) -> nn.Module:
    """A copy whose tensors are on the meta device, so that nothing is computed."""
    tensors = (*model.parameters(), *model.buffers())
    memo: dict[int, Any] = {}
    for tensor in tensors:
        empty = torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
        memo[id(tensor)] = nn.Parameter(empty, False) if isinstance(tensor, nn.Parameter) else empty
    return copy.deepcopy(model, memo)


class _Shapes(fx.Interpreter):
    """Runs a graph and keeps the shapes of the tensors."""

    def __init__(self, module: nn.Module, graph: fx.Graph) -> None:
        super().__init__(module, graph=graph)
        self.found: dict[fx.Node, torch.Size] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor) and n.op != "placeholder":
            self.found[n] = value.shape
        return value
