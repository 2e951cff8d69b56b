"""The user's own models: ``python:package.module:factory``."""

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from stripe.errors import StripeError
from stripe.models.third_party import building
from stripe.names import did_you_mean

__all__ = ["build", "find"]


def build(target: str, *, num_classes: int | None, pretrained: bool, args: Mapping[str, Any]) -> nn.Module:
    """Call the user's factory.

    The current directory is importable, as it is for ``python -m``.

    Args:
        target: ``package.module:factory``; the factory is anything that returns a module when called: a
            function or a subclass of ``nn.Module``.
        num_classes: Handed over as ``num_classes`` where the factory names such a parameter.
        pretrained: Handed over as ``pretrained`` likewise.
        args: Keyword arguments of the factory; they win over ``num_classes``.

    Raises:
        StripeError: There is no such module or factory, it fails, or what it returns is no module.
    """
    spec = f"python:{target}"
    factory = find(spec, target)
    given = dict(args)
    with building(spec):
        signature = inspect.signature(factory)
        if pretrained and "pretrained" not in signature.parameters:
            raise StripeError(f"{spec} takes no argument 'pretrained', so pretrained=True cannot be passed on")
        if pretrained:
            given["pretrained"] = True
        if num_classes is not None and "num_classes" in signature.parameters:
            given.setdefault("num_classes", num_classes)
        signature.bind(**given)
    try:
        model = factory(**given)
    except Exception as error:  # the code is the user's: anything may come out of it
        raise StripeError(f"{spec} failed: {_where(error)}") from error
    if not isinstance(model, nn.Module):
        raise StripeError(f"{spec} returned {type(model).__name__}, not a torch.nn.Module")
    return model


def find(
    spec: str,
    target: str,
    form: str = "python:package.module:factory",
    wanted: str = "a function or class that makes a model",
) -> Callable[..., Any]:
    """Import what a user names.

    Args:
        spec: The name as it was given, for messages.
        target: ``package.module:name``; the current directory is importable.
        form: The form that the name has, for messages.
        wanted: The description of what is named, for messages.

    Raises:
        StripeError: There is no such module or name, the import fails, or what is named cannot be called.
    """
    module_name, _, name = target.partition(":")
    if not module_name or not name:
        raise StripeError(f"{spec} is not of the form {form}")
    module = _import(spec, module_name)
    factory = getattr(module, name, None)
    if factory is None:
        public = [other for other, value in vars(module).items() if callable(value) and other[0] != "_"]
        raise StripeError(f"{spec}: there is no {name!r} in {module.__file__}{did_you_mean(name, public)}")
    if not callable(factory):
        kind = type(factory).__name__
        raise StripeError(f"{spec} is of type {kind}; {wanted} is wanted")
    found: Callable[..., Any] = factory
    return found


def _import(spec: str, name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if name == missing or name.startswith(f"{missing}."):
            raise StripeError(
                f"{spec}: there is no module {missing!r}, neither installed nor in the current folder {here}"
            ) from error
        raise StripeError(f"{spec}: {name} imports {missing!r}, which is not installed") from error
    except Exception as error:  # the code is the user's: anything may come out of it
        raise StripeError(f"{spec}: importing {name} failed: {_where(error)}") from error


def _where(error: Exception) -> str:
    """The error with file and line, since the traceback is not shown."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"
