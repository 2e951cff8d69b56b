"""Attention in networks of torchvision and timm, at the places of the Stripe Observation paper (appendix B.2).

- ResNet, ResNeXt, Wide ResNet (torchvision, timm): after the last normalisation of each block, before the addition.
- VGG with batch normalisation (torchvision, timm): between each normalisation and its ReLU.
- ShuffleNetV2 (torchvision): between the last normalisation of each residual branch and its ReLU.
- MobileNetV2 (torchvision, timm): after the last normalisation of each block, before the addition where there is one.
- MobileNetV1 (timm): between normalisation and ReLU of both layers of each block.
- RepVGG (timm): between the sum of each block's branches and the ReLU.
- ViT (timm): after the multi-head attention and after the MLP of each block, before the additions.

The SPSA paper does not say where its module goes (tables 1 and 3); these are the places of ECA-Net, whose ResNets and
MobileNetV2 it is compared with, and in ShuffleNetV2 that of the Stripe Observation paper.

A module comes where timm has a place prepared for one, else in front of an activation or drop path, which have no
parameters. So the network's own parameters keep their names.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import timm
import torch
import torchvision
from timm.models._efficientnet_blocks import DepthwiseSeparableConv
from timm.models._efficientnet_blocks import InvertedResidual as InvertedResidualOfTimm
from timm.models.byobnet import RepVggBlock
from torch import Tensor, nn
from torchvision.models.mobilenetv2 import InvertedResidual

from stripe.attention import Attention
from stripe.errors import StripeError
from stripe.models.attended import attend

__all__ = ["TokenAttention", "insert_attention"]

Make = Callable[[int], nn.Module]

KNOWN = (
    "ResNet, VGG with batch normalisation, MobileNetV1, MobileNetV2, RepVGG and ViT of timm, and ResNet, VGG, "
    "MobileNetV2 and ShuffleNetV2 of torchvision"
)


def insert_attention(model: nn.Module, make: Make) -> None:
    """Insert attention modules into a network, in place.

    Args:
        model: One of those above.
        make: Makes the attention module for a number of channels; called in the order of the forward pass.

    Raises:
        StripeError: The network is none of those, or has attention already.
    """
    for known, insert in INSERT:
        if isinstance(model, known):
            insert(model, make)
            return
    raise _unknown(model)


def _resnet(model: nn.Module, make: Make) -> None:
    blocks = _blocks(model, "layer1", "layer2", "layer3", "layer4")
    _refuse_present(model, [block.se for block in blocks])
    for block in blocks:
        last = block.bn3 if hasattr(block, "bn3") else block.bn2
        if not isinstance(last, nn.BatchNorm2d):
            raise _unknown(model)
        block.se = make(last.num_features)


def _resnet_of_torchvision(model: nn.Module, make: Make) -> None:
    for block in _blocks(model, "layer1", "layer2", "layer3", "layer4"):
        if not attend(block, make):
            _refuse_present(model, [getattr(block, "attention_module", None)])
            raise _unknown(model)


def _mobilenetv2(model: nn.Module, make: Make) -> None:
    for block in model.get_submodule("features").children():
        if not isinstance(block, InvertedResidual):
            continue
        _refuse_present(model, [getattr(block.conv, "attention_module", None)])
        last = block.conv[-2]
        if not isinstance(last, nn.Conv2d):
            raise _unknown(model)
        block.conv.add_module("attention_module", make(last.out_channels))


def _vgg(model: nn.Module, make: Make) -> None:
    features = model.get_submodule("features")
    places = [
        (norm.num_features, name)
        for (_, norm), (name, _) in pairwise(features.named_children())
        if isinstance(norm, nn.BatchNorm2d)
    ]
    if not places:
        raise StripeError(
            "this VGG has no batch normalisation, after which attention would come; take the one with _bn"
        )
    for channels, name in places:
        _in_front_of(features, name, make(channels))


def _shufflenet(model: nn.Module, make: Make) -> None:
    for block in _blocks(model, "stage2", "stage3", "stage4"):
        *_, norm, activation = block.branch2.named_children()
        _in_front_of(block.branch2, activation[0], make(norm[1].num_features))


def _mobilenet(model: nn.Module, make: Make) -> None:
    blocks = _blocks(model.get_submodule("blocks"))
    if not all(type(block) in (DepthwiseSeparableConv, InvertedResidualOfTimm) for block in blocks):
        raise _unknown(model)
    _refuse_present(model, [block.se for block in blocks])
    is_first_version = all(type(block) is DepthwiseSeparableConv for block in blocks)
    for block in blocks:
        last = block.bn3 if isinstance(block, InvertedResidualOfTimm) else block.bn2
        for norm in (block.bn1, last) if is_first_version else (last,):
            _in_front_of(norm, "act", make(norm.num_features))


def _repvgg(model: nn.Module, make: Make) -> None:
    blocks = [model.get_submodule("stem"), *_blocks(model.get_submodule("stages"))]
    if not all(isinstance(block, RepVggBlock) for block in blocks):
        raise _unknown(model)
    _refuse_present(model, [block.attn for block in blocks])
    for block in blocks:
        block.attn = make(block.conv_kxk.conv.out_channels)


def _vit(model: nn.Module, make: Make) -> None:
    width: Any = model.embed_dim
    for block in model.get_submodule("blocks").children():
        if not isinstance(block, timm.models.vision_transformer.Block):
            raise _unknown(model)
        for place in ("drop_path1", "drop_path2"):
            attention = make(width)
            if not isinstance(attention, nn.Identity):
                _in_front_of(block, place, TokenAttention(attention))


INSERT: tuple[tuple[tuple[type[nn.Module], ...], Callable[[nn.Module, Make], None]], ...] = (
    ((timm.models.resnet.ResNet,), _resnet),
    ((torchvision.models.ResNet,), _resnet_of_torchvision),
    ((torchvision.models.MobileNetV2,), _mobilenetv2),
    ((torchvision.models.VGG, timm.models.vgg.VGG), _vgg),
    ((torchvision.models.ShuffleNetV2,), _shufflenet),
    ((timm.models.efficientnet.EfficientNet,), _mobilenet),
    ((timm.models.byobnet.ByobNet,), _repvgg),
    ((timm.models.vision_transformer.VisionTransformer,), _vit),
)


class TokenAttention(nn.Module):
    """Attention over the features of tokens: the features are the channels, the tokens are the positions.

    ``y = x ⊙ v``, v the gate of the map (N, C, T, 1), class token included, with tanh as its last step (Stripe
    Observation paper, appendix B.2: "we apply ASR to the dimension of the features", with tanh for the sigmoid).

    Args:
        attention: The attention module, for C channels; its ``activation`` is set.

    Raises:
        StripeError: It looks at the neighbourhood in the image, which tokens in a row have lost, or is no attention.
    """

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        if not isinstance(attention, Attention) or attention.kind != "channel":
            raise StripeError(
                f"{type(attention).__name__} is no channel attention; only that can follow a ViT's tokens"
            )
        attention.activation = torch.tanh
        self.attention_module = attention

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (N, T, C), of the same shape."""
        gate = self.attention_module.gate(x.transpose(1, 2).unsqueeze(-1))
        return x * gate.flatten(2).transpose(1, 2)


def _in_front_of(parent: nn.Module, name: str, attention: nn.Module) -> None:
    """Have a child of a module, one without parameters, follow the attention."""
    follower = parent.get_submodule(name)
    setattr(parent, name, nn.Sequential(OrderedDict(attention_module=attention, then=follower)))


def _blocks(model: nn.Module, *stages: str) -> list[Any]:
    """The blocks of a network's stages; those of all its children where no names are given."""
    chosen: Iterator[nn.Module] = (child for name, child in model.named_children() if name in stages or not stages)
    return [block for stage in chosen for block in stage.children()]


def _refuse_present(model: nn.Module, places: list[nn.Module | None]) -> None:
    if any(place is not None and not isinstance(place, nn.Identity) for place in places):
        raise StripeError(f"this {type(model).__name__} has attention already, which stands where more would come")


def _unknown(model: nn.Module) -> StripeError:
    return StripeError(f"where attention goes in a {type(model).__name__} is not known, as it is in {KNOWN}")
