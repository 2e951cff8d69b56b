"""Names of networks and data sets for people, names that a pattern means, former names of arguments."""

import difflib
import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePath
from typing import Any, ParamSpec, TypeVar

from stripe.errors import StripeError

__all__ = [
    "counted",
    "data_name",
    "did_you_mean",
    "fitting",
    "in_brackets",
    "matching",
    "renamed",
    "run_name",
    "without_folders",
]

_ABSOLUTE = re.compile(r"((?:[\w-]+[:=])*)((?:/(?!/)|[A-Za-z]:\\).+)", re.DOTALL)

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def run_name(settings: Mapping[str, Any]) -> str:
    """What was trained, as ``stripe.bench.Variant`` names it, and with what noise.

    Args:
        settings: The settings of a run.

    Example:
        >>> run_name({"model": "resnet83", "attention": "se", "asr": {"attention": "ie"}})
        'resnet83+se+asr(ie)'
    """
    attention, asr, noise = (settings.get(key) for key in ("attention", "asr", "noise"))
    parts = [str(settings["model"])]
    parts += [attention] if attention and attention != "none" else []
    parts += [f"asr({asr['attention']})"] if asr else []
    parts += [f"noise({noise['factor']:g}, {noise['offset']:g})"] if noise else []
    return "+".join(parts)


def in_brackets(arguments: Mapping[str, Any] | None) -> str:
    """Arguments of a model, to be said after its name; nothing where there are none.

    Example:
        >>> "resnet18-cifar" + in_brackets({"width": 8}), "resnet11" + in_brackets({})
        ('resnet18-cifar (width=8)', 'resnet11')
    """
    return f" ({', '.join(f'{name}={value}' for name, value in arguments.items())})" if arguments else ""


def counted(count: int, noun: str) -> str:
    """A number of things, with their noun in the singular or in the plural.

    Args:
        count: How many there are.
        noun: Their noun in the singular, whose plural ends in s.

    Example:
        >>> counted(1, "epoch"), counted(2000, "image")
        ('1 epoch', '2,000 images')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def data_name(spec: str) -> str:
    """The data set as a reader knows it; where its folder lies on somebody's disk is nobody's business.

    Args:
        spec: As ``stripe.data.load`` takes it.

    Example:
        >>> data_name("folder:/home/somebody/photos")
        'folder photos'
    """
    kind, colon, path = spec.partition(":")
    if kind == "folder" and colon:
        return f"folder {PurePath(path).name}"
    return ",".join(map(without_folders, spec.split(",")))


def without_folders(text: str) -> str:
    """A path, a specification with one, or a word of a command line, without the folders of an absolute path.

    Where a file lies on somebody's disk is nobody's business, and mostly tells who that is.

    Args:
        text: Such as ``/home/me/a.h5``, ``folder:/home/me/photos`` or ``--ckpt=/home/me/run/*.pth``.

    Example:
        >>> without_folders("folder:/home/me/photos"), without_folders("runs/a.h5"), without_folders("tcp://host:1")
        ('folder:photos', 'runs/a.h5', 'tcp://host:1')
    """
    found = _ABSOLUTE.match(text)
    return f"{found[1]}{PurePath(found[2]).name}" if found else text


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``"; did you mean a, b or c?"`` with the closest known names, nothing where none is close."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    if not close:
        return ""
    *others, last = close
    return f"; did you mean {', '.join(others)} or {last}?" if others else f"; did you mean {last}?"


def fitting(names: Iterable[str], pattern: str) -> list[str]:
    """The names that a pattern means: the name itself, or those that fit it as a glob (``layer1.*``).

    Example:
        >>> fitting(["a[0]", "a0", "b"], "a[0]"), fitting(["a[0]", "a0", "b"], "a*")
        (['a[0]'], ['a[0]', 'a0'])
    """
    names = list(names)
    return [pattern] if pattern in names else [name for name in names if fnmatchcase(name, pattern)]


def matching(names: Iterable[str], patterns: str | Sequence[str], where: str) -> list[str]:
    """The sites that any of some patterns means, in their own order.

    Args:
        names: Names of all sites.
        patterns: A name or a glob, or several.
        where: What has the sites, for the message, as ``the capture``.

    Raises:
        StripeError: A pattern means none of them.

    Example:
        >>> matching(["layer1.se", "layer2.se", "layer3.se"], ["layer3.*", "layer1.se"], "the capture")
        ['layer1.se', 'layer3.se']
    """
    names = list(names)
    found: set[str] = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        means = fitting(names, pattern)
        if not means:
            close = difflib.get_close_matches(pattern, names, n=3, cutoff=0.5) or names[:3]
            more = f"{len(names)}, among them {', '.join(close)}" if len(names) > 6 else ", ".join(names)
            raise StripeError(f"No site of {where} fits {pattern!r}. It has {more}. A glob fits several: 'layer1.*'.")
        found |= set(means)
    return [name for name in names if name in found]


def renamed(**present: str) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Decorate a function whose arguments had other names in the first release: these are still accepted.

    Args:
        **present: Former name of an argument → its present name.

    Returns:
        A decorator. The decorated function raises ``TypeError`` if an argument is given by both names.

    Example:
        >>> @renamed(tol="tolerance")
        ... def settled(tolerance: float) -> float:
        ...     return tolerance
        >>> settled(tol=0.1)
        0.1
    """

    def decorate(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        @functools.wraps(function)
        def accept(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            for former in present.keys() & kwargs.keys():
                name = present[former]
                if name in kwargs:
                    raise TypeError(f"{former}= is the former name of {name}=; give one of the two")
                kwargs[name] = kwargs.pop(former)
            return function(*args, **kwargs)

        return accept

    return decorate
