from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

WriteImages = Callable[..., Path]


@pytest.fixture
def write_images(tmp_path: Path) -> WriteImages:
    """Writes class folders of single-coloured PNGs; the colour of an image is its own number."""

    def write(where: str, classes: dict[str, int], size: tuple[int, int] = (12, 12)) -> Path:
        number = 0
        for name, count in classes.items():
            folder = tmp_path / where / name
            folder.mkdir(parents=True, exist_ok=True)
            for index in range(count):
                pixels = np.full((size[1], size[0], 3), number, np.uint8)
                Image.fromarray(pixels).save(folder / f"{index:03d}.png")
                number += 1
        return tmp_path / where

    return write
