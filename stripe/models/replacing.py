"""One module in the place of another."""

from torch import nn

__all__ = ["replace_module"]


def replace_module(model: nn.Module, path: str, module: nn.Module) -> nn.Module:
    """Put a module in another's place, under every name that it has there, and return the one that was there."""
    old = model.get_submodule(path)
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child is old:
                parent._modules[name] = module
    return old
