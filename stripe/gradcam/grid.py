"""Arrangement of a layer's output over the image: as a map, channels first or last, or as tokens."""

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Grid", "grid_of"]

# Numbers of class, distillation and register tokens that a transformer may put before those of the image.
MAX_PREFIX = 16


@dataclass(frozen=True)
class Grid:
    """The positions of a layer's output.

    Attributes:
        layout: Order of the axes: ``NCHW``, ``NHWC`` or ``NTC`` (tokens).
        height: Number of rows of positions.
        width: Number of columns of positions.
        prefix: Number of tokens before those of the image, such as the class token.
    """

    layout: str
    height: int
    width: int
    prefix: int = 0

    def __call__(self, values: Tensor) -> Tensor:
        """Arrange a layer's output, or its gradient, as a map (N, C, height, width)."""
        if self.layout == "NCHW":
            return values
        if self.layout == "NHWC":
            return values.movedim(-1, 1)
        return values[:, self.prefix :].transpose(1, 2).reshape(len(values), -1, self.height, self.width)


def grid_of(shape: tuple[int, ...], image_size: tuple[int, int], prefix: int | None = None) -> Grid | None:
    """Find how an output is arranged over the images; None if it is not a map of more than one position.

    A map has the proportions of the image, to within one position. This distinguishes channels first from channels
    last, and a map of tokens from anything else.

    Args:
        shape: Shape of the output, including the batch axis.
        image_size: Height and width of the images in pixels.
        prefix: Number of tokens before those of the image, if the model tells it.
    """
    if len(shape) == 4:
        first, last = shape[2:], shape[1:3]
        # If both orders fit, channels first is taken, unless channels last fits better.
        fitting = [
            (abs(_width(size[0], image_size) - size[1]), Grid(layout, *size))
            for layout, size in (("NCHW", first), ("NHWC", last))
            if _fits(size, image_size)
        ]
        return min(fitting, key=lambda item: item[0])[1] if fitting else None
    if len(shape) == 3:
        return _of_tokens(shape[1], image_size, prefix)
    return None


def _of_tokens(tokens: int, image_size: tuple[int, int], prefix: int | None) -> Grid | None:
    sizes = [
        (height, width)
        for height in range(1, min(tokens, image_size[0]) + 1)
        for width in {int(_width(height, image_size)), round(_width(height, image_size))}
        if _fits((height, width), image_size) and 0 <= tokens - height * width <= MAX_PREFIX
    ]
    said = [size for size in sizes if prefix is not None and tokens - size[0] * size[1] == prefix]
    if not sizes:
        return None
    height, width = max(said or sizes, key=lambda size: size[0] * size[1])
    return Grid("NTC", height, width, tokens - height * width)


def _width(height: int, image_size: tuple[int, int]) -> float:
    """The number of columns of a map that has ``height`` rows and the proportions of the image."""
    return height * image_size[1] / image_size[0]


def _fits(size: tuple[int, ...], image_size: tuple[int, int]) -> bool:
    height, width = size
    within = 1 <= height <= image_size[0] and 1 <= width <= image_size[1] and height * width > 1
    return within and abs(_width(height, image_size) - width) <= 1
