"""Networks for small images, by plain names: the backbones that the Stripe Observation paper trains on CIFAR and STL10.

================================ ==================================================================================
``resnet<9n+2>``                 bottleneck ResNet: resnet83, resnet164 (also resnet101, which is not ImageNet's)
``resnet<6n+2>-basic``           ResNet of basic blocks: the plain resnet56 and resnet110 of table 6
``resnet<6n+2>-acnet``           the same with ACNet's asymmetric convolutions
``resnet18-cifar``               ResNet-18 with a stem that keeps the size; the argument ``width`` is 64
``vgg19``                        torchvision's vgg19_bn; the classifier sees the average of the last maps, 512 numbers
``shufflenetv2``                 torchvision's shufflenet_v2_x1_0 with a stem that keeps the size
``mobilenetv2``                  torchvision's mobilenet_v2 with a stem that keeps the size
``mobilenet``                    timm's mobilenetv1_100 with a stem that keeps the size
``repvgg_a0``, ``repvgg_b3``     timm's, with a stem that keeps the size
================================ ==================================================================================

Networks for ImageNet are torchvision's and timm's as they are: ``timm:resnet50``, ``timm:vit_small_patch16_224`` ….

The published stems of ShuffleNetV2 (stride 2 and a pool), MobileNet and RepVGG (stride 2) would leave maps of 1×1 of a
32×32 image; without these steps the last maps are 4×4, 2×2 and 2×2 (and 2×2 of MobileNetV2). The paper does not say
what it did. VGG19 needs no change there: its five pools leave 1×1, of which the published classifier would see 49
copies. All take images of any larger size; STL10's come as they are, 96×96. Weights begin as the library does it; VGG's
as torch does it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from stripe.attention import attention_factory, for_every_block
from stripe.errors import StripeError
from stripe.models.basic_resnet import BasicResNet, basic_depth_of
from stripe.models.resnet import CifarResNet, depth_of
from stripe.models.resnet18 import NAME as RESNET18
from stripe.models.resnet18 import CifarResNet18

__all__ = ["IMAGE_SIZE", "NAMES", "build", "is_small"]

IMAGE_SIZE = 32
"""Side in pixels of the images that these networks are made for."""


def is_small(name: str) -> bool:
    """Whether a name is of one of these networks; its depth may still be impossible."""
    return depth_of(name) is not None or basic_depth_of(name) is not None or name in NAMES


def build(name: str, num_classes: int, attention: str, args: Mapping[str, Any]) -> nn.Module:
    """Build one of these networks.

    Args:
        name: See ``is_small``.
        num_classes: Outputs of the classifier.
        attention: Attention in every block, as for ``stripe.attention.attention_factory``.
        args: Further arguments: ``width`` of ``resnet18-cifar``.

    Raises:
        StripeError: There is no such depth, attention or argument, or that attention does not go into this network.
    """
    if unknown := sorted(set(args) - ({"width"} if name == RESNET18 else set())):
        takes = "no further arguments" if name != RESNET18 else "no further argument but width"
        raise StripeError(f"{name} takes {takes}, but got {', '.join(unknown)}")
    with for_every_block(attention_factory(attention)) as make:
        if (depth := depth_of(name)) is not None:
            return CifarResNet(depth, num_classes, make)
        if (basic := basic_depth_of(name)) is not None:
            return BasicResNet(basic[0], num_classes, make, asymmetric=basic[1])
        if name == RESNET18:
            return CifarResNet18(num_classes, make, **args)
        model = FAMILIES[name](num_classes)
        if attention != "none":
            from stripe.models.insertion import insert_attention

            insert_attention(model, make)
        return model


# timm and torchvision are imported where they are needed: they take seconds, and our own networks need neither.


def _vgg19(num_classes: int) -> nn.Module:
    import torchvision

    with torch.device("meta"):  # the published classifier's 103 million numbers are never made
        model: nn.Module = torchvision.models.vgg19_bn(num_classes=num_classes)
        model.avgpool = nn.AdaptiveAvgPool2d(1)
        first, *rest = model.get_submodule("classifier").children()
        assert isinstance(first, nn.Linear)
        model.classifier = nn.Sequential(nn.Linear(512, first.out_features), *rest)
    model.to_empty(device="cpu")
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.Linear):
            module.reset_parameters()
    return model


def _shufflenet(num_classes: int) -> nn.Module:
    import torchvision

    model: nn.Module = torchvision.models.shufflenet_v2_x1_0(num_classes=num_classes)
    model.maxpool = nn.Identity()
    return _keep_size(model)


def _mobilenetv2(num_classes: int) -> nn.Module:
    import torchvision

    return _keep_size(torchvision.models.mobilenet_v2(num_classes=num_classes))


def _timm(name: str) -> Callable[[int], nn.Module]:
    def build(num_classes: int) -> nn.Module:
        import timm

        return _keep_size(timm.create_model(name, num_classes=num_classes))

    return build


def _keep_size(model: nn.Module) -> nn.Module:
    """Let the convolutions that see the image keep its size; their padding does already."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == 3:
            module.stride = (1, 1)
    return model


# name → what builds the network, without attention, from the number of classes
FAMILIES: dict[str, Callable[[int], nn.Module]] = {
    "vgg19": _vgg19,
    "shufflenetv2": _shufflenet,
    "mobilenetv2": _mobilenetv2,
    "mobilenet": _timm("mobilenetv1_100"),
    "repvgg_a0": _timm("repvgg_a0"),
    "repvgg_b3": _timm("repvgg_b3"),
}

NAMES = ("resnet83", "resnet164", "resnet56-basic", "resnet56-acnet", RESNET18, *FAMILIES)
"""Names to offer where one is not known; other depths exist."""
