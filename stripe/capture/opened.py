"""An open capture, whose values and attributes have names."""

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
from stripe.names import counted

__all__ = ["Capture", "CaptureLike", "LayerFacts", "SiteFacts", "as_capture", "site_names"]


@dataclass(frozen=True)
class SiteFacts:
    """Description of a site in a capture.

    Attributes:
        kind: Kind of the gate: ``channel``, ``spatial``, ``branch``, ``strip``, ``sample`` or ``other``.
        owner: Class name of the module that multiplies by the gate, ``""`` if it is unknown.
        order: Position in the forward pass, from 0.
        map_shape: Shape of the map that the gate multiplies, without the image axis.
        input_dependent: Whether the gate depends on the image; False for a factor that is constant by construction.
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
        """Read the description from a group of ``/sites``."""
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
    """Description of the average Grad-CAM maps of a layer in a capture.

    Attributes:
        layer: Name of the layer.
        target: Class whose evidence the maps show: ``predicted``, ``label`` or ``class 3``; ``""`` if it is unknown.
        count: Number of images in the average, None if it is unknown.
        empty: Number of images whose map is zero everywhere.
        epoch: Epoch of the weights, None if it is unknown.
        weights: Origin of the weights, such as ``pretrained``; ``""`` if it is unknown.
    """

    layer: str
    target: str
    count: int | None
    empty: int
    epoch: int | None
    weights: str

    @classmethod
    def of(cls, name: str, node: xr.DataTree) -> "LayerFacts":
        """Read the description from a group of ``/gradcam``."""
        attrs = node.attrs
        count, epoch = (int(attrs[key]) if key in attrs else None for key in ("count", "epoch"))
        texts = {key: str(attrs.get(key, "")) for key in ("target", "weights")}
        return cls(str(attrs.get("layer", name)), count=count, empty=int(attrs.get("empty", 0)), epoch=epoch, **texts)

    @property
    def has_random_weights(self) -> bool:
        """Whether the network was never trained."""
        return self.weights.startswith("random")


@dataclass(frozen=True, eq=False, repr=False)
class Capture:
    """An open capture: a tree of labelled arrays, and properties for its attributes.

    A text property is ``""`` if the capture lacks the attribute. ``stripe.capture.as_capture`` makes a capture from a
    path or a tree.

    Attributes:
        tree: The tree of the complete epochs, as ``stripe.capture.open_capture`` returns it.

    Example:
        >>> capture = as_capture("capture.h5")                                      # doctest: +SKIP
        >>> {name: values["attention"].std("image") for name, values in capture.sites.items()}  # doctest: +SKIP
    """

    tree: xr.DataTree

    def __repr__(self) -> str:
        named = f"{self.path!r}, " if self.path else ""
        counts = ((self.facts, "site"), (self.epochs, "epoch"), (self.images, "image"))
        sites, epochs, images = (counted(len(each), noun) for each, noun in counts)
        return f"Capture({named}{' + '.join(self.network) or 'network unknown'}, {sites}, {epochs} × {images})"

    @property
    def path(self) -> str:
        """Path of the file, ``""`` if the capture was made in memory."""
        return str(self.tree.encoding.get("source", ""))

    @property
    def model(self) -> str:
        """Name of the network, such as ``resnet83`` or ``timm:seresnet50``."""
        return self._text("model")

    @property
    def attention(self) -> str:
        """Name of the attention module that was put into the network, ``none`` or ``""`` if there is none."""
        return self._text("attention")

    @property
    def network(self) -> list[str]:
        """Name of the model and, if one was put in, of the attention module."""
        return [name for name in (self.model, self.attention) if name not in ("none", "")]

    @property
    def data(self) -> str:
        """Name of the data set, such as ``cifar10`` or ``folder:/photos``."""
        return self._text("data")

    @property
    def split(self) -> str:
        """Split of the data set that the images belong to, such as ``test``."""
        return self._text("split")

    @property
    def scale(self) -> str:
        """Scale of the training in words, such as fewer epochs than the paper's."""
        return self._text("scale")

    @property
    def weights(self) -> str:
        """Origin of the weights, such as ``pretrained`` or ``random (seed 0)``."""
        return self._text("weights")

    @property
    def has_random_weights(self) -> bool:
        """Whether the network was never trained."""
        return self.weights.startswith("random")

    @property
    def seed(self) -> int | None:
        """Seed with which the images were chosen, None if it is unknown."""
        try:
            return operator.index(self.tree.attrs.get("seed"))  # type: ignore[arg-type]
        except TypeError:
            return None

    @property
    def classes(self) -> list[str]:
        """Names of the classes, empty if they are unknown."""
        found = self.tree.attrs.get("classes", "[]")
        try:
            names = json.loads(found) if isinstance(found, str) else list(found)
        except ValueError:
            return []
        return [str(name) for name in names] if isinstance(names, list) else []

    @property
    def epochs(self) -> npt.NDArray[np.int64]:
        """Numbers of the complete epochs, ascending, as an array (epochs,)."""
        return self.tree.dataset["epoch"].to_numpy()

    @property
    def learning_rate(self) -> npt.NDArray[np.float64]:
        """Learning rate of each epoch, NaN if it is unknown, as an array (epochs,)."""
        return self.tree.dataset["learning_rate"].to_numpy()

    @property
    def images(self) -> npt.NDArray[np.int64]:
        """Numbers of the images as an array (images,)."""
        return self.tree.dataset["image"].to_numpy()

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Class of each image, −1 if it is unknown, as an array (images,)."""
        return self.tree.dataset["label"].to_numpy()

    @cached_property
    def facts(self) -> dict[str, SiteFacts]:
        """Description of each site by its name, in the order of the forward pass."""
        found = {str(name): SiteFacts.of(node) for name, node in self._groups("sites").items()}
        return dict(sorted(found.items(), key=lambda item: item[1].order))

    @cached_property
    def sites(self) -> dict[str, xr.Dataset]:
        """Values of each site by its name, in the order of the forward pass; empty if the capture has no attention.

        A dataset holds ``attention`` (epoch, image, …) and, if they were recorded, ``input`` and ``input_rms`` of the
        same shape.
        """
        nodes = self._groups("sites")
        return {name: nodes[name].to_dataset() for name in self.facts}

    @cached_property
    def controls(self) -> dict[str, "Capture"]:
        """Controls by name, each a capture of the same images and sites with one epoch; empty if none was recorded.

        ``init`` is the network at initialisation. ``permuted`` is the network of the last epoch, with the parameters of
        its gates permuted. ``weights`` says how each was made.
        """
        return {str(name): self._control(node) for name, node in self._groups("controls").items()}

    @cached_property
    def gradcam(self) -> dict[str, xr.Dataset]:
        """Average Grad-CAM maps by layer, as ``stripe.gradcam.gradcam`` returns them; empty if there are none."""
        return {str(name): node.to_dataset() for name, node in self._groups("gradcam").items()}

    @cached_property
    def layers(self) -> dict[str, LayerFacts]:
        """Description of the Grad-CAM maps by layer."""
        return {str(name): LayerFacts.of(str(name), node) for name, node in self._groups("gradcam").items()}

    def thumbnail(self, position: int) -> npt.NDArray[np.uint8] | None:
        """Thumbnail (y, x, rgb) of the image at a position, in uint8; None if the capture has no thumbnails."""
        if "thumbnail" not in self.tree.dataset:
            return None
        return self.tree.dataset["thumbnail"].isel(image=position).to_numpy()

    def _control(self, node: xr.DataTree) -> "Capture":
        number = [int(node.attrs["epoch"])]
        root = self.tree.to_dataset().drop_dims("epoch").assign_coords(epoch=number)
        root = root.assign(learning_rate=("epoch", [np.nan]))
        root.attrs |= {**node.attrs, "weights": str(node.attrs["how"])}
        parts = {"/": root}
        for name, site in node.children["sites"].children.items():
            values = site.to_dataset(inherit=False)
            own = values.data_vars.keys()
            parts[f"/sites/{name}"] = values.assign({key: values[key].expand_dims(epoch=number) for key in own})
        return Capture(xr.DataTree.from_dict(parts))

    def _groups(self, name: str) -> dict[str, xr.DataTree]:
        return dict(self.tree.children[name].children) if name in self.tree.children else {}

    def _text(self, name: str) -> str:
        return str(self.tree.attrs.get(name, ""))


CaptureLike = Capture | xr.DataTree | str | os.PathLike[str]
"""A capture as functions accept it: an open ``Capture``, its tree, or the path of its file."""


def as_capture(capture: CaptureLike) -> Capture:
    """Open a capture from its path or its tree.

    Args:
        capture: A path; a tree from ``stripe.capture.open_capture`` or ``xarray.open_datatree``; or a ``Capture``,
            which is returned unchanged.

    Returns:
        The capture with its complete epochs alone. (A tree that xarray opened has the unwritten epochs, too.)

    Raises:
        StripeError: The argument is none of these, or the file cannot be read.
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
    """Return the names of a capture's sites in the order of the forward pass.

    Args:
        capture: A capture, its tree or its path.
        kind: Kind of the sites to return, such as ``channel``; by default all kinds.
    """
    return [name for name, facts in as_capture(capture).facts.items() if kind in (None, facts.kind)]
