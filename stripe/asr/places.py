"""Where ASR goes in the networks that are known (paper, appendix B.2 and figures 7–11)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from stripe.asr.layers import foldable
from stripe.errors import StripeError

__all__ = ["Groups", "Places", "known_places"]

Groups = list[tuple[str, ...]]
NORMS = (_BatchNorm, nn.GroupNorm, nn.LayerNorm)
ATTENTION_NAMES = {"attention_module", "attn", "se"}  # ours, and timm's


@dataclass(frozen=True)
class Places:
    """Where ASR goes, and how it begins there.

    Attributes:
        groups: Names of layers, in the order of the forward pass; those of a group share one ASR.
        psi: ψ's first value.
        activation: σ, a name; None: κ's own.
        init: What all parameters of κ are set to; None: κ's own initialisation.
    """

    groups: Groups
    psi: float = 0.1
    activation: str | None = None
    init: float | None = None


def known_places(model: nn.Module) -> Places:
    """Where the paper puts ASR in a network that is known, which its class and structure tell.

    - ResNet, ResNeXt (ours, torchvision's, timm's): the last normalisation of each block, before the addition; in
      ResNet-ACNet the last three, which are added up and share one ASR.
    - VGG with batch normalisation (torchvision, timm): every normalisation, before the ReLU.
    - RepVGG (timm): the normalisations of a block's branches, which share one ASR.
    - ShuffleNetV2 (torchvision): the last normalisation of each residual branch.
    - MobileNetV1 (timm), MobileNetV2 (torchvision, timm), and networks of the same blocks (EfficientNet): the
      normalisations after each block's depthwise convolution and after the pointwise one that follows it.
    - ViT (torchvision, timm): the output projection of the self-attention and the second linear layer of the MLP; tanh,
      ψ and all parameters of κ begin at 1e-3.

    Raises:
        StripeError: The network is none of them.
    """
    kind = type(model).__name__
    places = PLACES[kind](model) if kind in PLACES else Places([])
    if places.groups and all(places.groups):
        return places
    norms = [name for name, layer in model.named_modules() if isinstance(layer, NORMS)]
    shown = f"; its last normalisations are {', '.join(norms[-4:])}" if norms else ""
    raise StripeError(
        f"where ASR goes in a {kind} is not known: say after which layers, by a pattern of names as '*.bn3'{shown}"
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
    """The last two normalisations of a block, where all blocks are of these two kinds."""
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


def _vit(model: nn.Module) -> Places:
    groups: Groups = []
    for name, block in model.named_modules():
        projections = [p for p in ("attn.proj", "self_attention.out_proj") if foldable(_submodule(block, p))]
        mlp = [path for path, layer in _submodule(block, "mlp").named_modules() if isinstance(layer, nn.Linear)]
        if projections and mlp:
            groups += [(f"{name}.{projections[0]}",), (f"{name}.mlp.{mlp[-1]}",)]
    return Places(groups, psi=1e-3, activation="tanh", init=1e-3)


# class of the network → its places; none where the structure is not the one that is known
PLACES: dict[str, Callable[[nn.Module], Places]] = {
    "BasicResNet": _basic_resnet,
    "CifarResNet": _resnet,
    "ResNet": _resnet,
    "VGG": _vgg,
    "ShuffleNetV2": _shufflenet,
    "MobileNetV2": _mobilenet_of_torchvision,
    "EfficientNet": _mobilenet_of_timm,
    "ByobNet": _repvgg,
    "VisionTransformer": _vit,
    "VisionTransformerDistilled": _vit,
}


def _norms(model: nn.Module, path: str) -> list[str]:
    """Names of the batch normalisations inside a module, without those of its attention."""
    inside = _submodule(model, path).named_modules(prefix=path)
    own = ((name, layer) for name, layer in inside if ATTENTION_NAMES.isdisjoint(name.split(".")))
    return [name for name, layer in own if isinstance(layer, _BatchNorm)]


def _blocks(model: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    """The children of the children of a module, timm's stages of blocks."""
    for stage, blocks in _submodule(model, path).named_children():
        for block, module in blocks.named_children():
            yield f"{path}.{stage}.{block}", module


def _submodule(module: nn.Module, path: str) -> nn.Module:
    """A submodule, an empty one where there is none of that name."""
    try:
        return module.get_submodule(path)
    except AttributeError:
        return nn.ModuleList()
