"""Places of ASR: those of known networks (paper, appendix B.2 and figures 7–11), and those that a caller selects."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import timm.models.resnet as timm_resnet
import torchvision.models.resnet as torchvision_resnet
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torchvision.models import detection, segmentation
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN

from stripe.asr.layers import KINDS, foldable
from stripe.asr.rule import apply_rule
from stripe.errors import StripeError
from stripe.models.frozen_norm import is_frozen_norm

__all__ = ["Groups", "Places", "Where", "find_places", "known_places"]

Groups = list[tuple[str, ...]]
NORMS = (_BatchNorm, nn.GroupNorm, nn.LayerNorm)
RESIDUAL_BLOCKS = (
    timm_resnet.BasicBlock,
    timm_resnet.Bottleneck,
    torchvision_resnet.BasicBlock,
    torchvision_resnet.Bottleneck,
)
ON_BACKBONES = (
    *(GeneralizedRCNN, detection.RetinaNet, detection.FCOS, detection.ssd.SSD),
    *(segmentation.DeepLabV3, segmentation.FCN, segmentation.LRASPP),
)
ATTENTION_NAMES = {"attention_module", "attn", "se"}  # ours, and timm's


@dataclass(frozen=True)
class Places:
    """Layers after which ASR is inserted, and its initial state there.

    Attributes:
        groups: Groups of names of layers, in the order of the forward pass; the layers of a group share one ASR.
        psi: Initial value of ψ.
        activation: Name of the activation σ; None stands for that of κ.
        init: Number that all parameters of κ are set to; None stands for κ's own initialisation.
        note: How the places were found, if not by the class of the network.
    """

    groups: Groups
    psi: float = 0.1
    activation: str | None = None
    init: float | None = None
    note: str = ""


def known_places(model: nn.Module, images: Tensor | None = None) -> Places:
    """Find the places of ASR by the class and structure of a known network, or by the paper's rule in any other.

    - ResNet, ResNeXt (ours, torchvision's, timm's): the last normalisation of each block, before the addition; in
      ResNet-ACNet the last three, which are added up and share one ASR.
    - VGG with batch normalisation (torchvision, timm): every normalisation, before the ReLU.
    - RepVGG (timm): the normalisations of a block's branches, which share one ASR.
    - ShuffleNetV2 (torchvision): the last normalisation of each residual branch.
    - MobileNetV1 (timm), MobileNetV2 (torchvision, timm), and networks of the same blocks (EfficientNet): the
      normalisations after each block's depthwise convolution and after the pointwise one that follows it.
    - The network of style transfer (ours): every normalisation.
    - ViT (torchvision, timm): the output projection of the self-attention and the second linear layer of the MLP, with
      the activation tanh, and 1e-3 as the initial value of ψ and of all parameters of κ.

    The same places are found if such networks, or blocks of a ResNet, are parts of another network (a detector, a
    wrapper). In any other network the paper's rule is applied to the data flow, in detectors and segmenters to that of
    the backbone alone: the last layer of each residual branch before the addition, which may be a normalisation;
    without residual branches, each normalisation before an activation. In a transformer the initial state is that of
    ViT. ``Places.note`` tells of the rule.

    Args:
        model: Any network.
        images: Images (N, C, H, W) with which the data flow is read; by default random ones of the size in the model's
            configuration, or of a size that the model accepts.

    Raises:
        StripeError: The network is not known, and the rule finds no place.

    Example:
        >>> import timm
        >>> known_places(timm.create_model("regnetx_002")).groups[0]
        ('s1.b1.conv3.bn',)
    """
    places = _known(model) or _known_parts(model)
    if places is not None:
        return places
    kind = type(model).__name__
    backbone = _backbone(model)
    try:
        found = apply_rule(model.get_submodule(backbone), images)
    except StripeError as error:
        raise _unknown(model, error) from None
    where = " in its backbone" if backbone else ""
    note = f"where ASR goes in a {kind} is not known; places by the rule{where}: {found.note}"
    groups = [tuple(f"{backbone}.{name}" if backbone else name for name in group) for group in found.groups]
    return Places(groups, note=note) if not found.tokens else replace(_as_in_vit(groups), note=note)


def _backbone(model: nn.Module) -> str:
    """The path of the backbone of a detector or segmenter, wherever that is inside the network; else empty."""
    for name, part in model.named_modules():
        if isinstance(part, ON_BACKBONES):
            inner = "backbone.body" if isinstance(getattr(part.backbone, "body", None), nn.Module) else "backbone"
            return f"{name}.{inner}" if name else inner
    return ""


def _known(model: nn.Module) -> Places | None:
    """The places of a network whose class, or a base class, is known."""
    for kind in type(model).__mro__:
        package = kind.__module__.partition(".")[0]
        packages, find = PLACES.get(kind.__name__, ((), None))
        if find and (package in packages or package not in ("timm", "torchvision", "stripe")):
            places = find(model)
            return places if places.groups and all(places.groups) else None
    return None


def _known_parts(model: nn.Module) -> Places | None:
    """The places of known networks, or of blocks of a ResNet, inside another network."""
    parts: list[tuple[str, Places]] = []
    for name, part in model.named_modules():
        if name and not any(name.startswith(f"{outer}.") for outer, _ in parts):
            places = _known(part)
            if places is not None:
                parts.append((name, places))
    if parts:
        first = parts[0][1]
        groups = [tuple(f"{name}.{layer}" for layer in group) for name, places in parts for group in places.groups]
        if all(replace(places, groups=[]) == replace(first, groups=[]) for _, places in parts):
            return replace(first, groups=groups)
    blocks = {module for module in model.modules() if isinstance(module, RESIDUAL_BLOCKS)}
    places = _resnet(model) if blocks else Places([])
    return places if len(places.groups) == len(blocks) > 0 else None


def _unknown(model: nn.Module, reason: StripeError) -> StripeError:
    norms = [name for name, layer in model.named_modules() if isinstance(layer, NORMS) or is_frozen_norm(layer)]
    layers = norms or [name for name, layer in model.named_modules() if name and foldable(layer)]
    middle = layers[len(layers) // 2] if layers else ""
    parent, _, own = middle.rpartition(".")
    pattern = "*.bn3" if not parent else f"{parent}.*" if own.isdecimal() else f"*.{own}"
    shown = f"; its last normalisations are {', '.join(norms[-4:])}" if norms else ""
    return StripeError(
        f"where ASR goes in a {type(model).__name__} is not known: say after which layers (the paper's rule finds "
        f"none: {reason}), by a pattern of names as {pattern!r}{shown}"
    )


def _resnet(model: nn.Module) -> Places:
    blocks = (
        (name, block)
        for name, block in model.named_modules()
        if name and isinstance(getattr(block, "bn2", None), nn.Module)
    )
    return Places([(f"{name}.{'bn3' if hasattr(block, 'bn3') else 'bn2'}",) for name, block in blocks])


def _basic_resnet(model: nn.Module) -> Places:
    blocks = (name for name, block in model.named_modules() if type(block).__name__ == "BasicBlock")
    return Places([tuple(_norms(model, f"{name}.conv2")) for name in blocks])


def _vgg(model: nn.Module) -> Places:
    return Places([(norm,) for norm in _norms(model, "features")])


def _shufflenet(model: nn.Module) -> Places:
    blocks = (f"{name}.branch2" for name, block in model.named_modules() if hasattr(block, "branch2"))
    return Places([tuple(_norms(model, branch)[-1:]) for branch in blocks])


def _mobilenet_of_torchvision(model: nn.Module) -> Places:
    blocks = (name for name, block in model.named_modules() if type(block).__name__ == "InvertedResidual")
    return Places([(norm,) for block in blocks for norm in _norms(model, block)[-2:]])


def _mobilenet_of_timm(model: nn.Module) -> Places:
    """The last two normalisations of each block, if all blocks are of these two kinds."""
    norms = {"DepthwiseSeparableConv": ("bn1", "bn2"), "InvertedResidual": ("bn2", "bn3")}
    blocks = {name: type(block).__name__ for name, block in _blocks(model, "blocks")}
    if not set(blocks.values()) <= set(norms):
        return Places([])
    return Places([(f"{name}.{norm}",) for name, kind in blocks.items() for norm in norms[kind]])


def _repvgg(model: nn.Module) -> Places:
    if any(type(block).__name__ != "RepVggBlock" for _, block in _blocks(model, "stages")):
        return Places([])
    blocks = [name for name, block in model.named_modules() if type(block).__name__ == "RepVggBlock"]
    return Places([tuple(norms) for name in blocks if (norms := _norms(model, name))])


def _style(model: nn.Module) -> Places:
    norms = (name for name, layer in model.named_modules() if isinstance(layer, _BatchNorm | _InstanceNorm))
    return Places([(name,) for name in norms if name.rpartition(".")[2].startswith("in")])  # not those of attention


def _vit(model: nn.Module) -> Places:
    groups: Groups = []
    for name, block in model.named_modules():
        projections = [p for p in ("attn.proj", "self_attention.out_proj") if foldable(_submodule(block, p))]
        mlp = [path for path, layer in _submodule(block, "mlp").named_modules() if isinstance(layer, nn.Linear)]
        if projections and mlp:
            groups += [(f"{name}.{projections[0]}",), (f"{name}.mlp.{mlp[-1]}",)]
    return _as_in_vit(groups)


def _as_in_vit(groups: Groups) -> Places:
    return Places(groups, psi=1e-3, activation="tanh", init=1e-3)


TIMM, TORCHVISION = ("timm",), ("torchvision",)
BOTH = TIMM + TORCHVISION

# By the name of a network's class: the packages that the class must come from (a user's class may have the same name),
# and a function that finds the places, which are empty if the structure is not the known one.
PLACES: dict[str, tuple[tuple[str, ...], Callable[[nn.Module], Places]]] = {
    "BasicResNet": (("stripe",), _basic_resnet),
    "CifarResNet18": (("stripe",), _basic_resnet),
    "CifarResNet": (("stripe",), _resnet),
    "StyleNetwork": (("stripe",), _style),
    "ResNet": (BOTH, _resnet),
    "VGG": (BOTH, _vgg),
    "ShuffleNetV2": (TORCHVISION, _shufflenet),
    "MobileNetV2": (TORCHVISION, _mobilenet_of_torchvision),
    "EfficientNet": (TIMM, _mobilenet_of_timm),
    "ByobNet": (TIMM, _repvgg),
    "VisionTransformer": (BOTH, _vit),
    "VisionTransformerDistilled": (TIMM, _vit),
}


def _norms(model: nn.Module, path: str) -> list[str]:
    """The names of the batch normalisations inside a module, without those of its attention."""
    inside = _submodule(model, path).named_modules(prefix=path)
    own = ((name, layer) for name, layer in inside if ATTENTION_NAMES.isdisjoint(name.split(".")))
    return [name for name, layer in own if isinstance(layer, _BatchNorm) or is_frozen_norm(layer)]


def _blocks(model: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    """The grandchildren of a module, which are the blocks in timm's stages."""
    for stage, blocks in _submodule(model, path).named_children():
        for block, module in blocks.named_children():
            yield f"{path}.{stage}.{block}", module


def _submodule(module: nn.Module, path: str) -> nn.Module:
    """The submodule at a path, or an empty module if there is none."""
    try:
        return module.get_submodule(path)
    except AttributeError:
        return nn.ModuleList()


Where = str | Callable[[str, nn.Module], bool] | Sequence[str | Sequence[str]]


def find_places(model: nn.Module, where: Where | None) -> Places:
    """Find the places that a pattern, a function or names select, or those of the architecture.

    Args:
        model: Any network.
        where: The selection, as for ``stripe.asr.reparameterize``.

    Raises:
        StripeError: The selection has no layer, or one that ASR cannot follow.
    """
    if where is None:
        return known_places(model)
    if isinstance(where, str) or callable(where):
        return Places([(name,) for name in _matches(model, where)])
    groups: Groups = []
    for entry in where:
        groups += [(name,) for name in _matches(model, entry)] if isinstance(entry, str) else [tuple(entry)]
    if not all(groups) or not groups:
        raise StripeError("there is no layer in one of the groups where ASR is to go")
    return Places(groups)


def _matches(model: nn.Module, where: str | Callable[[str, nn.Module], bool]) -> list[str]:
    """The names of the foldable layers that a pattern or a function selects, in the order of the network."""
    meant = [
        (name, module)
        for name, module in model.named_modules()
        if ".parametrizations." not in name
        and (fnmatchcase(name, where) if isinstance(where, str) else where(name, module))
    ]
    said = f"the pattern {where!r}" if isinstance(where, str) else "the function that says where"
    if not meant:
        last = [name for name, module in model.named_modules() if foldable(module)][-4:]
        raise StripeError(f"no layer of the model fits {said}; it has, among others, {', '.join(last)}")
    names = [name for name, module in meant if foldable(module)]
    if not names:
        name, module = meant[0]
        raise StripeError(f"{said} means {name}, which is a {type(module).__name__}; ASR can follow {KINDS}")
    return names
