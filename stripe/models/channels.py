"""How many channels the images have that a network takes."""

from torch import nn

__all__ = ["input_channels"]


def input_channels(model: nn.Module) -> int | None:
    """Channels of a network's input: 3 for colour, 1 for grey images; None where its layers don't tell.

    That is what its first convolution takes, in the order in which its modules were made, wherever that is inside
    wrappers. Where it is neither 1 nor 3, pixels may have been moved into channels before (a space-to-depth stem); then
    another convolution of 3 channels tells.

    Args:
        model: Any module, on the meta device, too.

    Example:
        >>> input_channels(nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 3, 3)))
        1
    """
    convolutions = (module for module in model.modules() if isinstance(module, nn.Conv2d))
    taken = [layer.in_channels for layer in convolutions if layer.in_channels > 0]  # 0: lazy, not known yet
    if taken and taken[0] in (1, 3):
        return taken[0]
    return 3 if 3 in taken else None
