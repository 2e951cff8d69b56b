"""Recipes as data: those of the Stripe Observation paper, tables 10 and 11, and of detectors and segmenters.

Where the paper is silent or contradicts itself:

- "epoch 164" (appendix B.1) holds for all of table 10, so ``60/120/160`` leaves four epochs at the last rate.
- ResNet-ACNet's "gamma .333" with a cosine schedule is no decay but the scale that its normalisations begin with in
  ACNet's code; ``stripe.models.asymmetric`` does that.
- Weight decay is on every parameter. No warm-up: none is named, not even for ViT.
- ``resnet56-basic`` and ``resnet110-basic``, the plain networks of table 6, take the recipe of ResNet-ACNet.
- STL10 is trained at its own 96×96 pixels, nine times those of CIFAR: table 1's speeds, 7.6 times lower, fit that.
- Style transfer (section 6) is trained as PyTorch's example ``fast_neural_style`` does it: Adam at 1e-3.
- Networks in neither table: a ViT takes ViT-S's recipe, others ResNet50's on ImageNet and ResNet83's on other data.

Detectors and segmenters on backbones of torchvision, timm or the user, which begin with weights of a classifier, are
trained as in the SPSA paper (appendix A.2.2) and in torchvision's references. The SPSA paper says nothing of a warm-up;
500 steps are what the toolbox does that it used. The references' polynomial schedule of segmentation is a cosine here,
which lies close to it. On our own backbones for small images, which begin with random weights, they have a short recipe
of ours.
"""

import re
from dataclasses import replace
from typing import Literal, NamedTuple

from stripe.training.recipe import RESNET, Recipe

__all__ = ["RECIPES", "PaperRecipe", "recipe_for", "row_for"]

STL10_BATCH = 16
"""Images a step on STL10 (appendix B.1), instead of the 128 of CIFAR."""


class PaperRecipe(NamedTuple):
    """A column of table 10 or 11, or a recipe of another source.

    Attributes:
        models: Regular expression of the names of models that it is for, as ``stripe.models.build`` takes them.
        recipe: On CIFAR10 and CIFAR100 (table 10), on ImageNet (table 11).
        table: 10 or 11; None where the paper has none of it.
        columns: What it is the column of there, or where else it is from.
    """

    models: str
    recipe: Recipe
    table: Literal[10, 11] | None
    columns: str

    @property
    def source(self) -> str:
        """Where the paper says so."""
        return f"Stripe Observation paper, table {self.table}: {self.columns}" if self.table else self.columns


_FIFTHS = replace(RESNET, milestones=(60, 120, 160), gamma=0.2, weight_decay=5e-4)
_COSINE = replace(RESNET, schedule="cosine", milestones=(), gamma=1.0)
_IMAGENET = replace(RESNET, epochs=100, milestones=(30, 60, 90))
_VIT = replace(_COSINE, epochs=300, batch_size=256, lr=5e-4, weight_decay=5e-2, algorithm="adamw")
_STYLE = replace(_COSINE, epochs=2, batch_size=4, lr=1e-3, weight_decay=0.0, algorithm="adamw", schedule="step")
_VIT_384 = replace(_VIT, epochs=30, batch_size=64, lr=5e-6, weight_decay=1e-8)

_COCO = Recipe(
    epochs=12,
    batch_size=8,
    lr=0.01,
    schedule="step",
    milestones=(8, 11),
    gamma=0.1,
    momentum=0.9,
    weight_decay=1e-4,
    warmup_steps=500,
)
_REFERENCE = replace(_COCO, epochs=26, batch_size=16, lr=0.02, milestones=(16, 22), warmup_steps=1000)
_PIXELS = replace(_COSINE, epochs=30, batch_size=8, lr=0.01, per_step=True)
_SMALL = replace(_PIXELS, epochs=12, batch_size=4, lr=1e-3, warmup=1, algorithm="adamw")

# A network of torchvision, timm or the user, whose names have a colon.
_DETECTORS, _SEGMENTERS = "(maskrcnn|fasterrcnn|retinanet)", "(deeplabv3|fcn)"
_LARGE_DETECTORS = rf"{_DETECTORS}:.+:.+|torchvision:({_DETECTORS}|fcos|ssd|ssdlite)\d*_.+"
_LARGE_SEGMENTERS = rf"{_SEGMENTERS}:.+:.+|torchvision:({_SEGMENTERS}|lraspp)_.+"

RECIPES: dict[str, PaperRecipe] = {
    "resnet": PaperRecipe(r"resnet\d+", RESNET, 10, "ResNet83, ResNet164"),
    "vgg19": PaperRecipe(r"vgg19", _FIFTHS, 10, "VGG19"),
    "shufflenetv2": PaperRecipe(r"shufflenetv2", _FIFTHS, 10, "ShuffleNetV2"),
    "mobilenet": PaperRecipe(r"mobilenet", _FIFTHS, 10, "MobileNet"),
    "repvgg": PaperRecipe(r"repvgg_(a0|b3)", replace(RESNET, milestones=(130,)), 10, "RepVGG"),
    "acnet": PaperRecipe(r"resnet\d+-(acnet|basic)", _COSINE, 10, "ResNet-ACNet"),
    "imagenet": PaperRecipe(
        r"(timm|torchvision):resnet(34|50|101)(\..+)?", _IMAGENET, 11, "ResNet34, ResNet50, ResNet101"
    ),
    "vit": PaperRecipe(r"timm:vit_(small|base)_patch16_224(\..+)?|torchvision:vit_b_16", _VIT, 11, "ViT-S, ViT-B"),
    "vit-384": PaperRecipe(
        r"timm:vit_base_patch16_384(\..+)?", _VIT_384, 11, "ViT-B↑384, to go on from weights trained at 224"
    ),
    "coco": PaperRecipe(_LARGE_DETECTORS, _COCO, None, "detectors on COCO, of 800 pixels (SPSA paper, appendix A.2.2)"),
    "coco-reference": PaperRecipe(r"", _REFERENCE, None, "detectors on COCO (torchvision's references)"),
    "segmentation": PaperRecipe(_LARGE_SEGMENTERS, _PIXELS, None, "segmenters (torchvision's references)"),
    "small-maps": PaperRecipe(
        rf"({_DETECTORS}|{_SEGMENTERS}):[^:]+", _SMALL, None, "detectors and segmenters on our own backbones"
    ),
    "style": PaperRecipe(r"style", _STYLE, None, "PyTorch's example of style transfer (Adam; of COCO's 83,000 images)"),
}
"""Names of recipes, as ``--recipe`` takes them, and the rows. One that is for no model is taken by its name alone."""


def row_for(model: str, data: str) -> PaperRecipe:
    """The row of the tables that a network falls under.

    Args:
        model: Its name, as for ``stripe.models.build``.
        data: What it is trained on, as for ``stripe.data.load``. It decides for networks that are in neither table.

    Returns:
        The row. Of a network in neither table, the nearest, and ``columns`` says so.
    """
    for row in RECIPES.values():
        if re.fullmatch(row.models, model):
            return row
    near = "vit" if ":vit_" in model else "imagenet" if _is(data, "imagenet") else "resnet"
    row = RECIPES[near]
    return row._replace(columns=f"{row.columns} (it has no {model}; this is the nearest)")


def recipe_for(model: str, data: str) -> Recipe:
    """How the paper trains a network on some data.

    Args:
        model: Its name, as for ``stripe.models.build``.
        data: What it is trained on, as for ``stripe.data.load``: on STL10 the batches of table 10 are
            of 16 images.

    Example:
        >>> recipe = recipe_for("vgg19", "stl10")
        >>> recipe.milestones, recipe.gamma, recipe.batch_size
        ((60, 120, 160), 0.2, 16)
    """
    row = row_for(model, data)
    on_stl10 = row.table == 10 and _is(data, "stl10")
    return replace(row.recipe, batch_size=STL10_BATCH) if on_stl10 else row.recipe


def _is(data: str, name: str) -> bool:
    return data.partition(":")[0] == name
