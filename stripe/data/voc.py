"""``voc:PATH``: images with the class of every pixel and boxes, in the format of PASCAL VOC."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from stripe.data.annotated import annotated_data
from stripe.data.base import Data
from stripe.data.files import is_image_name
from stripe.data.flaws import Flaws
from stripe.data.registry import register
from stripe.data.size import ImageSize
from stripe.data.voc_images import Described, VocImages, are_binary, described
from stripe.errors import StripeError

__all__ = ["load_voc"]

CLASSES = [
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
]
"""VOC's own, in the order of the numbers in its masks; their background is 0."""

HALVES = (("train", "trainval"), ("val", "test"))
"""The lists of images to train on and to test on; of two the first that is there."""

FORM = "voc:DIR, where DIR or DIR/VOCdevkit/VOC2012 has JPEGImages/, and Annotations/ or SegmentationClass/"


@register("voc:DIR", place=8)
def load_voc(*, rest: str, seed: int | None = None, image_size: ImageSize | None = None) -> Data:
    """Images in the folders of PASCAL VOC, as torchvision lays them out, or one's own in the same format.

    DIR is the folder that holds ``VOCdevkit/VOC2012``, or that folder. The images are those of the lists ``train`` and
    ``val`` in ``ImageSets/Segmentation`` where there are masks, with the class of every pixel, and with boxes where
    there are XML files. ``voc:DIR,set=Main`` takes the longer lists in ``ImageSets/Main``, with boxes alone. Without
    lists, one image in five is held out for testing: those whose names have the smallest SHA-256, with the seed
    (``voc:DIR,seed=3``).

    The classes are VOC's twenty; or those of ``labelmap.txt``, a name and a colon per line, of which the first is the
    background; or those that the boxes name, and then masks are not used. Objects that are marked as difficult count as
    crowds: they are not trained on, and found or not they do not count. What is wrong is counted in one line of a
    warning and left out.

    Args:
        rest: The path of the folder, and perhaps ``,set=Main`` or ``,set=Segmentation`` and ``,seed=…``.
        seed: The same as ``seed=…``, before which it goes; without effect where there are lists.
        image_size: Height and width in pixels that all images are scaled to cover and cut to; by default every image
            has its own size.

    Raises:
        StripeError: No such folder, not in this layout, or no image with annotations that can be used.
    """
    where, chosen, seed = _settings(rest, seed)
    root = _root(where)
    wanted, flaws = _lists(root, chosen), Flaws()
    images, masks = (_listed(root / folder, is_image_name) for folder in ("JPEGImages", "SegmentationClass"))
    files = _listed(root / "Annotations", lambda name: name.lower().endswith(".xml"))
    if wanted:
        files = {name: files[name] for half in wanted for name in half if name in files}
    said = described(files, flaws)
    if chosen == "Main":
        masks = {}
    classes = _classes(root, said)
    if masks and not classes:
        flaws.add("{} mask(s), as no labelmap.txt says what their numbers mean", root.name, len(masks))
        masks = {}
    if are_binary([masks[name] for half in wanted or [[*masks]] for name in half if name in masks]):
        flaws.add(
            "{} mask(s), as they hold 0 and 255 alone, and 255 is unknown: the first class is 1", root.name, len(masks)
        )
        masks = {}
    classes = classes or sorted({label for each in said.values() for label, _, _ in each.objects} - {""})
    kinds = (("boxes",) if said else ()) + (("segmentation",) if masks else ())
    if not kinds:
        left = f" Left out are {flaws}." if flaws else ""
        raise StripeError(f"{root} has neither boxes nor masks that can be used; give {FORM}.{left}")

    def images_of(names: Sequence[str]) -> VocImages:
        return VocImages(names, images, said or None, masks or None, classes, root, flaws)

    sets = [images_of(names) for names in wanted or [[*images]]]
    flaws.tell(root)
    options = f",set={chosen}" if chosen else ""
    options += f",seed={seed}" if seed and not wanted else ""
    return annotated_data(
        sets,
        spec=f"voc:{where}{options}",
        name=f"voc:{root.name}{options}",
        classes=classes,
        kinds=kinds,
        files=[*(images.paths for images in sets), [repr(sorted(said.items()))]],
        seed=seed,
        image_size=image_size,
    )


def _settings(rest: str, seed: int | None) -> tuple[Path, str | None, int]:
    """The folder, the set of lists that is asked for, and the seed."""
    chosen, said = None, 0
    while found := re.fullmatch(r"(.+),(?:set=(Main|Segmentation)|seed=(\d+))", rest, re.DOTALL):
        rest, chosen, said = found[1], found[2] or chosen, int(found[3] or said)
    if seed is not None and seed < 0:
        raise StripeError(f"seed={seed} must be at least 0.")
    return Path(rest).expanduser().resolve(), chosen, said if seed is None else seed


def _root(where: Path) -> Path:
    """The folder that holds ``JPEGImages``."""
    if not where.is_dir():
        raise StripeError(f"There is no folder {where}; give {FORM}.")
    folders = [where, *sorted(where.glob("VOC2*")), *sorted(where.glob("VOCdevkit/VOC2*"))]
    found = [folder for folder in folders if (folder / "JPEGImages").is_dir()]
    if not found:
        raise StripeError(f"{where} has no JPEGImages/; give {FORM}.")
    if len(found) > 1:
        raise StripeError(f"{where} has several years: say which, as voc:{found[0]} or voc:{found[1]}.")
    return found[0]


def _lists(root: Path, chosen: str | None) -> list[list[str]]:
    """Names of the images to train on and to test on; none where there are no lists."""
    masks = (root / "SegmentationClass").is_dir()
    for folder in (chosen,) if chosen else ("Segmentation", "Main") if masks else ("Main",):
        lists = root / "ImageSets" / folder
        found = [next((file for name in half if (file := lists / f"{name}.txt").is_file()), None) for half in HALVES]
        train, test = found
        if train and test:
            return [_names(train), _names(test)]
        if chosen or train or test:
            raise StripeError(
                f"{lists} must have the lists train.txt (or trainval.txt) and val.txt (or test.txt), and has "
                f"{', '.join(file.name for file in found if file) or 'neither'}."
            )
    return []


def _names(file: Path) -> list[str]:
    names = [line.strip() for line in _lines(file) if line.strip()]
    if not names:
        raise StripeError(f"{file} is empty: it must have the name of an image in each line.")
    return [*dict.fromkeys(names)]


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        raise StripeError(f"{file} cannot be read as text in UTF-8: {error}.") from error


def _listed(folder: Path, wanted: Callable[[str], bool]) -> dict[str, Path]:
    """The files in a folder by their names without what follows the last dot; none where there is no folder."""
    if not folder.is_dir():
        return {}
    return {file.stem: file for file in sorted(folder.iterdir()) if wanted(file.name) and not file.name.startswith(".")}


def _classes(root: Path, said: Mapping[str, Described]) -> list[str]:
    """Names of the classes in the order of the numbers in masks; none where that is not known."""
    labels = root / "labelmap.txt"
    if labels.is_file():
        lines = (line.partition("#")[0].strip() for line in _lines(labels))
        return [line.partition(":")[0].strip() for line in lines if line][1:]  # the first is the background
    named = {label for each in said.values() for label, _, _ in each.objects if label}
    return CLASSES if named <= set(CLASSES) else []
