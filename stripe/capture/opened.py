"""An open capture: what its file holds, by name."""

import json
import operator
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

from stripe.capture.reader import complete_epochs, open_capture
from stripe.errors import StripeError

__all__ = ["Capture", "CaptureLike", "LayerFacts", "SiteFacts", "as_capture", "site_names"]


@dataclass(frozen=True)
class SiteFacts:
    """What a capture says of a site, beside its values.

    Attributes:
        kind: What attention differs in: ``channel``, ``spatial``, ``branch``, ``strip``, ``sample`` or ``other``.
        owner: Class of the module that computes the gate, ``""`` where it is unknown.
        order: Position in the forward pass, from 0.
        map_shape: Sizes of the map that attention is multiplied with, without the images.
        input_dependent: False for a factor that is constant by construction.
        residual: Whether the product is added to the map, x + x ⊙ v, so that the map is multiplied by 1 + v.
    """

    kind: str
    owner: str
    order: int
    map_shape: tuple[int, ...]
    input_dependent: bool
    residual: bool = False

    @classmethod
    def of(cls, node: xr.DataTree) -> "SiteFacts":
        """The facts of a group of ``/sites``."""
        attrs = node.attrs
        return cls(
            kind=str(attrs["kind"]),
            owner=str(attrs.get("owner", "")),
            order=int(attrs.get("order", 0)),
            map_shape=tuple(map(int, attrs.get("map_shape", ()))),
            input_dependent=bool(attrs.get("input_dependent", 1)),
            residual=bool(attrs.get("residual", 0)),
        )


@dataclass(frozen=True)
class LayerFacts:
    """What a capture says of average Grad-CAM maps, beside their values.

    Attributes:
        layer: The layer whose maps they are.
        target: The class whose evidence they show: ``predicted``, ``label`` or ``class 3``; ``""`` where unknown.
        count: How many images were averaged, None where unknown.
        empty: How many of them have a map of zeros.
        epoch: Whose weights they show, None where unknown.
        weights: Where those came from, ``""`` where unknown.
    """

    layer: str
    target: str
    count: int | None
    empty: int
    epoch: int | None
    weights: str

    @classmethod
    def of(cls, name: str, node: xr.DataTree) -> "LayerFacts":
        """The facts of a group of ``/gradcam``."""
        attrs = node.attrs
        count, epoch = (int(attrs[key]) if key in attrs else None for key in ("count", "epoch"))
        texts = {key: str(attrs.get(key, "")) for key in ("target", "weights")}
        return cls(str(attrs.get("layer", name)), count=count, empty=int(attrs.get("empty", 0)), epoch=epoch, **texts)

    @property
    def has_random_weights(self) -> bool:
        """Whether the network was never trained."""
        return self.weights.startswith("random")


@dataclass(frozen=True, eq=False)
class Capture:
    """A capture, open: its tree, and what that says under names.

    Texts are ``""`` where the capture does not say them. Make one with [as_capture][stripe.capture.as_capture].

    Attributes:
        tree: All there is, complete epochs alone, as [open_capture][stripe.capture.open_capture] returns it.

    Example:
        >>> capture = as_capture("capture.h5")                                      # doctest: +SKIP
        >>> {name: values["attention"].std("image") for name, values in capture.sites.items()}  # doctest: +SKIP
    """

    tree: xr.DataTree

    @property
    def path(self) -> str:
        """The file that it was read from, ``""`` where it was made in memory."""
        return str(self.tree.encoding.get("source", ""))

    @property
    def model(self) -> str:
        """The network, such as ``resnet83`` or ``timm:seresnet50``."""
        return self._text("model")

    @property
    def attention(self) -> str:
        """The attention that was put into the network, ``none`` or ``""`` where there is none."""
        return self._text("attention")

    @property
    def network(self) -> list[str]:
        """The model and, where some was put in, the attention."""
        return [name for name in (self.model, self.attention) if name not in ("none", "")]

    @property
    def data(self) -> str:
        """The data set, such as ``cifar10`` or ``folder:/photos``."""
        return self._text("data")

    @property
    def split(self) -> str:
        """Which part of the data the images are of, such as ``test``."""
        return self._text("split")

    @property
    def scale(self) -> str:
        """At what scale the network was trained, in words."""
        return self._text("scale")

    @property
    def weights(self) -> str:
        """Where the weights came from, such as ``pretrained`` or ``random (seed 0)``."""
        return self._text("weights")

    @property
    def has_random_weights(self) -> bool:
        """Whether the network was never trained."""
        return self.weights.startswith("random")

    @property
    def seed(self) -> int | None:
        """The seed of the choice of images, where the capture says one."""
        try:
            return operator.index(self.tree.attrs.get("seed"))  # type: ignore[arg-type]
        except TypeError:
            return None

    @property
    def classes(self) -> list[str]:
        """Names of the classes; empty where the capture does not say them."""
        found = self.tree.attrs.get("classes", "[]")
        try:
            names = json.loads(found) if isinstance(found, str) else list(found)
        except ValueError:
            return []
        return [str(name) for name in names] if isinstance(names, list) else []

    @property
    def epochs(self) -> npt.NDArray[np.int64]:
        """(epochs,) the complete ones, ascending."""
        return self.tree.dataset["epoch"].to_numpy()

    @property
    def learning_rate(self) -> npt.NDArray[np.float64]:
        """(epochs,) NaN where unknown."""
        return self.tree.dataset["learning_rate"].to_numpy()

    @property
    def images(self) -> npt.NDArray[np.int64]:
        """(images,) their numbers."""
        return self.tree.dataset["image"].to_numpy()

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """(images,) their classes, −1 where unknown."""
        return self.tree.dataset["label"].to_numpy()

    @cached_property
    def facts(self) -> dict[str, SiteFacts]:
        """Name → facts of each site, in the order of the forward pass."""
        found = {str(name): SiteFacts.of(node) for name, node in self._groups("sites").items()}
        return dict(sorted(found.items(), key=lambda item: item[1].order))

    @cached_property
    def sites(self) -> dict[str, xr.Dataset]:
        """Name → values of each site, in the order of the forward pass.

        They are ``attention`` and, where they were recorded, ``input`` and ``input_rms``, (epoch, image, …) each.

        Empty where the capture holds none.
        """
        nodes = self._groups("sites")
        return {name: nodes[name].to_dataset() for name in self.facts}

    @cached_property
    def gradcam(self) -> dict[str, xr.Dataset]:
        """Layer → average Grad-CAM maps, as [gradcam][stripe.gradcam.gradcam] returns them; empty where none are."""
        return {str(name): node.to_dataset() for name, node in self._groups("gradcam").items()}

    @cached_property
    def layers(self) -> dict[str, LayerFacts]:
        """Layer → facts of its Grad-CAM maps."""
        return {str(name): LayerFacts.of(str(name), node) for name, node in self._groups("gradcam").items()}

    def thumbnail(self, position: int) -> npt.NDArray[np.uint8] | None:
        """The small picture (y, x, rgb) of an image; None where the capture has none, as of signals."""
        if "thumbnail" not in self.tree.dataset:
            return None
        return self.tree.dataset["thumbnail"].isel(image=position).to_numpy()

    def _groups(self, name: str) -> dict[str, xr.DataTree]:
        return dict(self.tree.children[name].children) if name in self.tree.children else {}

    def _text(self, name: str) -> str:
        return str(self.tree.attrs.get(name, ""))


CaptureLike = Capture | xr.DataTree | str | os.PathLike[str]
"""What every function that takes a capture takes: one that is open, its tree, or the path of its file."""


def as_capture(capture: CaptureLike) -> Capture:
    """Open a capture, or take one that is open.

    Args:
        capture: A path; a tree, as [open_capture][stripe.capture.open_capture] or ``xarray.open_datatree`` opens it; or
            a `Capture`, which is returned as it is.

    Returns:
        The capture, with its complete epochs: a tree that xarray opened by itself has those that were never written,
        too.

    Raises:
        StripeError: It is none of these, or cannot be read.
    """
    if isinstance(capture, Capture):
        return capture
    if isinstance(capture, xr.DataTree):
        return Capture(complete_epochs(capture))
    if not isinstance(capture, str | os.PathLike):
        raise StripeError(f"A capture is a path, or what open_capture gave, and not a {type(capture).__name__}.")
    tree = open_capture(Path(capture))
    tree.encoding["source"] = os.fspath(capture)
    return Capture(tree)


def site_names(capture: CaptureLike, kind: str | None = None) -> list[str]:
    """Names of a capture's sites in the order of the forward pass.

    Args:
        capture: A capture, its tree or its path.
        kind: Only sites of this kind.
    """
    return [name for name, facts in as_capture(capture).facts.items() if kind in (None, facts.kind)]
