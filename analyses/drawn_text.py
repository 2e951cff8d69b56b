"""Text drawn with Pillow, and how well networks read it, tell which way up it stands, and find it.

For the notebook on networks that others trained. Everything is drawn from a seed, in fonts that matplotlib ships, so
that the images are the same on every machine.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from torch import Tensor, nn

Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]

FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSerif",
    "DejaVuSerif-BoldItalic",
    "STIXGeneral",
    "STIXGeneralItalic",
)
_DICTIONARY = """
about after again answer apple April autumn because before between black board bread bridge brother castle chair
church circle city clear cloud coffee colour copper corner cotton country daily danger December dinner doctor double
dream early earth engine evening every family father feather finger flower foreign forest Friday friend garden glass
golden green ground hammer harbour history honey horse hotel house hundred island January journey kitchen ladder
language large letter library light listen little machine market matter meadow measure metal middle minute Monday
morning mother mountain museum music narrow nature needle never north November number ocean office orange order
paper pencil people picture planet pocket police potato power price public purple quarter question quick quiet
railway rather record report river room school science second September seven shadow shoulder silver simple sister
square station stone street summer Sunday sugar table teacher theatre thousand ticket together tomorrow travel tree
uncle under valley village visit voice water weather welcome western window winter without wonder world yellow
yesterday
"""
WORDS = tuple(_DICTIONARY.split())
SHRUNK = 0.4
"""r: detectors of this kind (DB) learn to find boxes that are shrunk by A · (1 − r²) / L, of area A and perimeter L."""


@dataclass(frozen=True)
class DrawnText:
    """Images, and what is in them.

    Attributes:
        images: uint8 (N, H, W), grey.
        texts: What was written in each; lines of a page are separated by line breaks.
        turns: (N,) by how many quarters of a turn each was turned.
        masks: bool (N, H, W), where the text stands; only of pages.
    """

    images: Bytes
    texts: tuple[str, ...]
    turns: npt.NDArray[np.int64]
    masks: npt.NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.images)


def draw_lines(
    number: int, *, height: int, width: int, seed: int, upside_down: float = 0.0, wear: float = 1.0
) -> DrawnText:
    """Single lines of text that begin at the left, blurred, noisy and a little turned.

    Args:
        number: How many.
        height: Of each image, in pixels.
        width: Likewise.
        seed: Of everything that is random.
        upside_down: Share of the images that are turned by 180°.
        wear: How blurred and noisy they are, relative to what pages are.
    """
    random = np.random.default_rng(seed)
    images, texts, turns = [], [], []
    for _ in range(number):
        font = _font(random, height * random.uniform(0.42, 0.7))
        text = _words(random, font, width - height // 2)
        ink, paper = _greys(random)
        picture = Image.new("L", (width, height), paper)
        place = (random.integers(2, height // 4), height / 2 + random.uniform(-0.05, 0.05) * height)
        ImageDraw.Draw(picture).text(place, text, fill=ink, font=font, anchor="lm")
        picture = picture.rotate(random.normal(0, 0.7), Image.Resampling.BICUBIC, fillcolor=paper)
        turn = 2 * int(random.random() < upside_down)
        images.append(np.rot90(_worn(random, picture, wear), turn))
        texts.append(text)
        turns.append(turn)
    return DrawnText(np.stack(images), tuple(texts), np.array(turns))


def draw_pages(number: int, *, side: int, seed: int, turned: bool = False) -> DrawnText:
    """Square pages of some lines of text at random places, and the masks of these lines.

    Args:
        number: How many.
        side: Of each page, in pixels.
        seed: Of everything that is random.
        turned: Whether pages are turned by 0, 90, 180 or 270° and filled with text; otherwise they stand upright.
    """
    random = np.random.default_rng(seed)
    images, texts, turns, masks = [], [], [], []
    for _ in range(number):
        ink, paper = _greys(random)
        page, mask = Image.new("L", (side, side), paper), Image.new("L", (side, side), 0)
        on_page, on_mask = ImageDraw.Draw(page), ImageDraw.Draw(mask)
        top, lines = side * random.uniform(0.04, 0.12), []
        size = side * random.uniform(0.045, 0.07)
        while top < side * 0.88:
            font = _font(random, size if turned else side * random.uniform(0.045, 0.09))
            left = side * (0.06 if turned else random.uniform(0.03, 0.4))
            text = _words(random, font, side * (0.93 if turned else random.uniform(0.5, 0.95)) - left)
            on_page.text((left, top), text, fill=ink, font=font)
            length, height = font.getlength(text), sum(font.getmetrics())
            off = length * height * (1 - SHRUNK**2) / (2 * (length + height))
            on_mask.rectangle((left + off, top + off, left + length - off, top + height - off), fill=1)
            top += height + side * (0.03 if turned else random.uniform(0.04, 0.16))
            lines.append(text)
        angle, turn = random.normal(0, 1.5), int(random.integers(4)) if turned else 0
        images.append(np.rot90(_worn(random, page.rotate(angle, Image.Resampling.BICUBIC, fillcolor=paper)), turn))
        masks.append(np.rot90(np.asarray(mask.rotate(angle)) > 0, turn))
        texts.append("\n".join(lines))
        turns.append(turn)
    return DrawnText(np.stack(images), tuple(texts), np.array(turns), np.stack(masks))


def save_images(drawn: DrawnText, folder: Path) -> None:
    """Write every image as a PNG file into a folder, as ``stripe --data folder:PATH`` takes them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(drawn.images):
        Image.fromarray(image).save(folder / f"{number:04d}.png")


def normalized(images: Bytes, mean: float | Sequence[float] = 0.5, std: float | Sequence[float] = 0.5) -> Tensor:
    """Grey images (N, H, W) as float32 (N, 3, H, W): v/255 less ``mean``, divided by ``std``, for each colour."""
    values = torch.from_numpy(images.astype(np.float32) / 255)[:, None].expand(-1, 3, -1, -1)
    center, scale = (torch.tensor(each).float().broadcast_to(3).view(3, 1, 1) for each in (mean, std))
    return (values - center) / scale


def characters(dictionary: str) -> list[str]:
    """The classes of a recogniser: that of no character first, those of its dictionary (one a line), and the space."""
    return ["", *dictionary.splitlines(), " "]


def decoded(outputs: Floats, classes: Sequence[str]) -> list[str]:
    """What a recogniser has read, by the likeliest class at each step (CTC: repetitions count once, blanks never).

    Args:
        outputs: (images, steps, classes), probabilities or logits.
        classes: As ``characters`` gives them; the first is the blank.
    """
    best = outputs.argmax(-1)
    new = np.diff(best, axis=1, prepend=0) != 0
    return ["".join(classes[step] for step in row[kept]) for row, kept in zip(best, new, strict=True)]


def edits(read: str, written: str) -> int:
    """Characters that must be put in, taken out or replaced (Levenshtein)."""
    before = list(range(len(written) + 1))
    for row, character in enumerate(read, 1):
        now = [row]
        for column, other in enumerate(written, 1):
            now.append(min(before[column] + 1, now[-1] + 1, before[column - 1] + (character != other)))
        before = now
    return before[-1]


@dataclass(frozen=True)
class Score:
    """A ratio of two sums over images, in per cent: errors per character, hits per image, overlap per union.

    Attributes:
        hits: (images,) what is counted.
        of: (images,) out of what.
    """

    hits: Floats
    of: Floats

    @property
    def percent(self) -> float:
        return float(100 * self.hits.sum() / self.of.sum())


def compared(before: Score, after: Score, *, seed: int = 0, resamples: int = 2000) -> dict[str, float]:
    """Two scores of the same images, their change in points, and its 95 % interval: a paired bootstrap over images."""
    images = len(before.of)
    counts = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), resamples).astype(float)
    first, second = (100 * (counts @ score.hits) / (counts @ score.of) for score in (before, after))
    low, high = np.quantile(second - first, [0.025, 0.975])
    change = after.percent - before.percent
    return {"before": before.percent, "after": after.percent, "change": change, "low": float(low), "high": float(high)}


def as_table(rows: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """Rows of ``compared`` as a table of texts: before, after, change and its interval."""
    table = pd.DataFrame(rows).T
    interval = [f"{low:+.2f} … {high:+.2f}" for low, high in zip(table["low"], table["high"], strict=True)]
    shown = table[["before", "after"]].map("{:.2f}".format)
    return shown.assign(change=table["change"].map("{:+.2f}".format), interval=interval)


@contextmanager
def constant_gates(network: nn.Module, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Multiply maps by constants in the place of gates.

    Args:
        network: Its sites are modules that multiply two inputs, as in networks of ``stripe.onnx.load``.
        values: Name of a site → its constant, (channels,).
    """

    def replaced(value: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...]]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            gate = min(inputs, key=torch.Tensor.numel)
            return tuple(value.view(1, -1, 1, 1).expand_as(gate) if each is gate else each for each in inputs)

        return hook

    hooks = [
        network.get_submodule(site).register_forward_pre_hook(replaced(value.float())) for site, value in values.items()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _font(random: np.random.Generator, size: float) -> ImageFont.FreeTypeFont:
    name = FONTS[random.integers(len(FONTS))]
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf", size)


def _words(random: np.random.Generator, font: ImageFont.FreeTypeFont, width: float) -> str:
    """As many words and numbers as fit into ``width`` pixels, up to six, and at least one."""
    text = ""
    for _ in range(random.integers(2, 7)):
        word = str(random.integers(10 ** random.integers(1, 5))) if random.random() < 0.2 else random.choice(WORDS)
        if random.random() < 0.1:
            word = word.upper()
        longer = f"{text} {word}".strip()
        if text and font.getlength(longer) > width:
            break
        text = longer
    return text


def _greys(random: np.random.Generator) -> tuple[int, int]:
    """Ink and paper, dark on light or, one time in four, light on dark."""
    dark, light = int(random.integers(0, 110)), int(random.integers(160, 256))
    return (light, dark) if random.random() < 0.25 else (dark, light)


def _worn(random: np.random.Generator, picture: Image.Image, wear: float = 1.0) -> Bytes:
    """Out of focus and noisy."""
    blurred = picture.filter(ImageFilter.GaussianBlur(random.uniform(0, 1.2 * wear)))
    noise = random.normal(0, random.uniform(0, 30 * wear), (picture.height, picture.width))
    return np.clip(np.asarray(blurred) + noise, 0, 255).astype(np.uint8)
