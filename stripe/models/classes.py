"""What the outputs of published weights are called, and which of them the classes of a data set are."""

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["positions_of", "published_classes"]

Names = Sequence[Sequence[str]]
"""For each output, all names that it has."""


def published_classes(spec: str) -> Names | None:
    """Names of the outputs of published weights; None where nobody says them.

    Args:
        spec: ``torchvision:NAME`` or ``timm:NAME``, whose classifier was not replaced.
    """
    source, _, name = spec.partition(":")
    if source == "torchvision":
        import torchvision

        weights = torchvision.models.get_model_weights(name)
        categories = [str(category) for category in weights.DEFAULT.meta["categories"]] if len(weights) else []
        known = _imagenet("imagenet-1k") if len(categories) == 1000 else None
        return [[category, *(known[number] if known else ())] for number, category in enumerate(categories)] or None
    if source == "timm":
        import timm
        from timm.data import infer_imagenet_subset

        config = timm.get_pretrained_cfg(name)
        if config is None:
            return None
        if config.label_names:
            return [[str(label)] for label in config.label_names]
        subset = infer_imagenet_subset(config)
        return _imagenet(subset) if subset else None
    return None


def positions_of(classes: Sequence[str], names: Names) -> npt.NDArray[np.int64] | None:
    """Which output of a network each class of a data set is; None where not every class is one.

    Upper and lower case, blanks, ``-`` and ``_`` make no difference.

    Args:
        classes: The names of the data set's classes.
        names: The names of the network's outputs.

    Example:
        >>> positions_of(["dog", "cat"], [["cat"], ["Dog"], ["fish"]])
        array([1, 0])
    """
    numbers: dict[str, set[int]] = {}
    for number, aliases in enumerate(names):
        for alias in aliases:
            numbers.setdefault(_plain(alias), set()).add(number)
    found = [numbers.get(_plain(name), set()) for name in classes]
    if classes and all(len(each) == 1 for each in found) and len(set().union(*found)) == len(found):
        return np.array([next(iter(each)) for each in found], dtype=np.int64)
    if len(classes) == len(names):
        if all(number in each for number, each in enumerate(found)):  # ImageNet has two cranes
            return np.arange(len(classes))
        if sorted(classes, key=_numeral) == [str(number) for number in range(len(names))]:  # folders named by number
            return np.array([int(name) for name in classes], dtype=np.int64)
    return None


def _imagenet(subset: str) -> Names | None:
    """WordNet's number, the first of its words, all of them."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo(subset)
    described = [str(info.index_to_description(number)) for number in range(info.num_classes())]
    return [
        [words.partition(",")[0], str(info.index_to_label_name(number)), words]
        for number, words in enumerate(described)
    ]


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name.casefold()).strip()


def _numeral(name: str) -> int:
    return int(name) if name.isascii() and name.isdecimal() else -1
