"""``coco:PATH``: images with objects that are described in COCO's format."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from stripe.data.annotated import annotated_data
from stripe.data.base import Data
from stripe.data.classfolders import TRAINING
from stripe.data.coco_file import CocoFile
from stripe.data.coco_images import CocoImages
from stripe.data.registry import register
from stripe.data.size import ImageSize
from stripe.errors import StripeError

__all__ = ["load_coco"]

logger = logging.getLogger(__name__)

TESTING = ("val", "valid", "validation", "test", "testing")
"""Names of the half to test on; of several the first is taken, as COCO's test images have no annotations."""

SAMPLE = 50
"""Files that are looked for to see in which folder the images are."""

FORMS = (
    "coco:DIR, where DIR has annotations/instances_train2017.json and train2017/ (and the same of val2017), or train/ "
    "and valid/ that each hold images and a JSON file, or one JSON file and the images; or "
    "coco:images=DIR,annotations=FILE"
)


class _Part(NamedTuple):
    """An annotation file, and the folders where its images may be."""

    file: Path
    folders: list[Path]


@register("coco:DIR", place=7)
def load_coco(*, rest: str, seed: int | None = None, image_size: ImageSize | None = None) -> Data:
    """Images with boxes, and outlines if most objects have one, from annotation files in COCO's format.

    ``coco:DIR`` is a folder in one of the usual layouts: ``annotations/instances_train2017.json`` beside
    ``train2017/``, and likewise ``val2017`` (other years and names with train and val as well); ``train/`` and
    ``valid/``, each with its images and one JSON file; or one JSON file and its images.
    ``coco:images=DIR,annotations=FILE`` names both. Of one file, one image in five is held out for testing: those whose
    names have the smallest SHA-256, with the seed (``coco:…,seed=3``).

    What is wrong in a file is counted in one line of a warning and left out, see ``stripe.data.coco_images``. The class
    of every pixel comes from the outlines; it is unknown where those of objects of several classes overlap.

    Args:
        rest: The path of the folder, or the two paths.
        seed: The same as ``seed=…``, before which it goes; of two files without effect.
        image_size: Height and width in pixels that all images are scaled to cover and cut to; by default every image
            has its own size.

    Raises:
        StripeError: No such folder or file, none in a known layout, no images or no annotations that can be used, or
            other classes to test on than to train on.
    """
    where, seed = _seed(rest, seed)
    where, base, parts = _parts(where)
    files = [CocoFile(part.file) for part in parts]
    classes, labels = _classes(files)
    sets = [
        CocoImages(file, _folder(file, part), label, base)
        for file, part, label in zip(files, parts, labels, strict=True)
    ]
    # Both halves have what both can have.
    kinds = tuple(kind for kind in sets[0].kinds if kind in sets[-1].kinds)
    one = len(sets) == 1
    return annotated_data(
        sets,
        spec=f"coco:{where}{f',seed={seed}' if seed and one else ''}",
        name=f"coco:{base.name}",
        classes=classes,
        kinds=kinds,
        files=[[file.digest, *images.paths] for file, images in zip(files, sets, strict=True)],
        seed=seed,
        image_size=image_size,
        attrs={"seed": seed} if one else {},
    )


def _seed(rest: str, seed: int | None) -> tuple[str, int]:
    """What is said without ``,seed=…`` at its end, and the seed."""
    found = re.fullmatch(r"(.+),seed=(\d+)", rest, re.DOTALL)
    where, said = (found[1], int(found[2])) if found else (rest, 0)
    if seed is not None and seed < 0:
        raise StripeError(f"seed={seed} must be at least 0.")
    return where, said if seed is None else seed


def _parts(where: str) -> tuple[str, Path, list[_Part]]:
    """The specification with whole paths, the data set's folder, and its annotation files: one, or two halves."""
    forms = (r"images=(?P<images>.+),annotations=(?P<file>.+)", r"annotations=(?P<file>.+),images=(?P<images>.+)")
    for form in forms:
        if found := re.fullmatch(form, where, re.DOTALL):
            images, file = (Path(found[name]).expanduser().resolve() for name in ("images", "file"))
            if not images.is_dir():
                raise StripeError(f"There is no folder {images}; give {FORMS}.")
            if not file.is_file():
                raise StripeError(f"There is no file {file}; give {FORMS}.")
            return f"images={images},annotations={file}", images, [_Part(file, [images])]
    root = Path(where).expanduser().resolve()
    if not root.is_dir():
        what = "is a file, not a folder" if root.is_file() else "does not exist"
        raise StripeError(f"{root} {what}; give {FORMS}.")
    files = _files(root)
    train, test = _half(files, TRAINING, root), _half(files, TESTING, root)
    if train and test:
        chosen = [train, test]
    elif train or test or len(files) == 1:
        chosen = [train or test or files[0]]
    else:
        names = ", ".join(str(file.relative_to(root)) for file in files[:5]) + (" …" if len(files) > 5 else "")
        found_there = f"of its JSON files ({names}) none is called train or val" if files else "it has no JSON file"
        raise StripeError(f"{root}: {found_there}. Give {FORMS}.")
    if left := [str(file.relative_to(root)) for file in files if file not in chosen]:
        logger.info("%s: of its JSON files these are not used: %s", root, ", ".join(left))
    return str(root), root, [_Part(file, _folders(file, root)) for file in chosen]


def _files(root: Path) -> list[Path]:
    """The annotation files in a folder, in ``annotations`` and in the folders of the halves."""
    folders = [root, *sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))]
    files = [file for folder in folders for file in sorted(folder.glob("*.json")) if file.is_file()]
    objects = [file for file in files if file.name.startswith("instances")]
    return objects or files  # COCO has captions, key points and more beside them


def _half(files: Sequence[Path], names: Sequence[str], root: Path) -> Path | None:
    """The annotation file of a half, by its own name, or else by that of its folder; None if there is none."""
    for name in names:
        found = [file for file in files if name in _words(file.stem)]
        found = found or [file for file in files if file.parent != root and name in _words(file.parent.name)]
        if len(found) > 1:
            listed = " and ".join(str(file.relative_to(root)) for file in found)
            raise StripeError(f"{root} has several files for {name}: {listed}. Say which: {FORMS}.")
        if found:
            return found[0]
    return None


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z]+", name.lower())


def _folders(file: Path, root: Path) -> list[Path]:
    """The folders where the images of an annotation file may be, the likeliest first."""
    said = file.stem.removeprefix("instances_")
    around = [parent / name for parent in (root, root / "images") for name in (said, *_words(said))]
    return [folder for folder in dict.fromkeys([*around, file.parent, root / "images", root]) if folder.is_dir()]


def _folder(file: CocoFile, part: _Part) -> Path:
    """The folder in which most of the images are, of those where they may be."""
    entries = [entry for said in file.images if (entry := file.entry(said))]
    some = entries[:: max(1, len(entries) // SAMPLE)]
    return max(part.folders, key=lambda folder: sum((folder / entry.name).is_file() for entry in some))


def _classes(files: Sequence[CocoFile]) -> tuple[tuple[str, ...], list[dict[str, int]]]:
    """Names of the classes, and for each file the position of each of its categories among them, by its id.

    The classes are the categories of the first file. Left out are those that have no annotations and only group others,
    as some tools add them.

    Raises:
        StripeError: Another file has annotations of a class that the first does not have.
    """
    first, used = files[0], {file.path: file.used() for file in files}
    kept = {key: name for key, name in first.categories.items() if name not in first.groups or key in used[first.path]}
    twice = {name for name in kept.values() if list(kept.values()).count(name) > 1}
    names = {key: f"{name} ({key})" if name in twice else name for key, name in kept.items()}
    labels = [{key: position for position, key in enumerate(names)}]
    for file in files[1:]:
        by_name = {name: position for position, name in enumerate(names.values())}
        other = {}
        for key, name in file.categories.items():
            position = by_name.get(f"{name} ({key})" if name in twice else name)
            if position is not None:
                other[key] = position
            elif key in used[file.path]:
                raise StripeError(
                    f"{file.path} has annotations of the class {name!r}, which {first.path} does not have: both halves "
                    "must have the same classes."
                )
        labels.append(other)
    return tuple(names.values()), labels
