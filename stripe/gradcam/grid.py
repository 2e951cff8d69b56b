"""How a layer's output lies over the image: as a map, channels first or last, or as tokens."""

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Grid", "grid_of"]

# Class, distillation and register tokens that a transformer may put before those of the image.
MAX_PREFIX = 16


@dataclass(frozen=True)
class Grid:
    """The positions of a layer's output.

    Attributes:
        layout: ``NCHW``, ``NHWC`` or ``NTC`` (tokens).
        height: Rows of positions.
        width: Columns of positions.
        prefix: Tokens before those of the image, such as the class token.
    """

    layout: str
    height: int
    width: int
    prefix: int = 0

    def __call__(self, values: Tensor) -> Tensor:
        """A layer's output, or its gradient, as a map (N, C, height, width)."""
        if self.layout == "NCHW":
            return values
        if self.layout == "NHWC":
            return values.movedim(-1, 1)
        return values[:, self.prefix :].transpose(1, 2).reshape(len(values), -1, self.height, self.width)


def grid_of(shape: tuple[int, ...], image_size: tuple[int, int], prefix: int | None = None) -> Grid | None:
    """How an output lies over images, or None where it is no map of more than one position.

    A map has the proportions of the image, to within one position; that tells channels first from channels last, and a
    map of tokens from everything else.

    Args:
        shape: Of the output, the batch first.
        image_size: (height, width) in pixels.
        prefix: How many tokens come before those of the image, where the model says it.
    """
    if len(shape) == 4:
        first, last = shape[2:], shape[1:3]
        # Of two that fit, channels first, unless channels last fits better.
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
    """How many columns belong to so many rows."""
    return height * image_size[1] / image_size[0]


def _fits(size: tuple[int, ...], image_size: tuple[int, int]) -> bool:
    height, width = size
    within = 1 <= height <= image_size[0] and 1 <= width <= image_size[1] and height * width > 1
    return within and abs(_width(height, image_size) - width) <= 1
