"""Translation of messages of the library, which speak of arguments, into those of the command line."""

import re
import shlex

import click

__all__ = ["in_flags"]

# ``image_size=``, ``dtype="float32"`` or ``copies=2``, but not a part of a path such as ``epoch=12-step=900.ckpt``.
_ARGUMENT = re.compile(
    r"""(?<![\w/.=+'"-])(?P<name>[a-z][a-z_]*)=(?P<value>"[^"]*"|'[^']*'|\d+(?:\.\d+)?|[A-Za-z]\w*)?(?!['"=/\\-]|\.?\w)"""
)
# A last advice with an argument and its value, as ``, or load what fits with partial=True``.
_ALTERNATIVE = re.compile(
    r"""[,;]?\s+or\s[^,.;:()]*?(?<![\w/.=+-])(?P<name>[a-z][a-z_]*)=("[^"]*"|'[^']*'|\d+|True|False)(?=[.;]?$)"""
)
# Arguments whose flag has another name or says the opposite.
_RENAMED = {"root": "--data-root", "compiled": "--compile", "start": "--asr-start"}
_NEGATED = {"record_input": "--no-input"}


def in_flags(message: str, command: click.Command) -> str:
    """Replace the arguments in a message by the flags of a command that have the same name.

    Args:
        message: Message of the library, such as ``give image_size=``.
        command: The command that was called. Arguments for which it has no flag are kept, but if a message ends in an
            alternative that is one, it is left out.

    Example:
        >>> size = click.Option(["--image-size"])
        >>> in_flags("give image_size=64, or preprocess=", click.Command("train", params=[size]))
        'give --image-size 64, or preprocess='
        >>> in_flags("Check image_size=, or take what fits with partial=True", click.Command("train", params=[size]))
        'Check --image-size'
    """
    flags = {flag: param for param in command.params for flag in (*param.opts, *param.secondary_opts)}

    def flag_of(match: re.Match[str]) -> str:
        name, value = match["name"], match["value"]
        if name in _NEGATED and _NEGATED[name] in flags and value == "False":
            return _NEGATED[name]
        flag = _flag(name)
        if flag not in flags:
            return match[0]
        if value is None or (value == "True" and getattr(flags[flag], "is_flag", False)):
            return flag
        quoted = value[0] in "\"'"
        return f"{flag} {shlex.quote(value[1:-1]) if quoted else value}"

    alternative = _ALTERNATIVE.search(message)
    if alternative and not {_flag(alternative["name"]), _NEGATED.get(alternative["name"])} & flags.keys():
        message = message[: alternative.start()] + message[alternative.end() :]
    return _ARGUMENT.sub(flag_of, message)


def _flag(name: str) -> str:
    """The flag of an argument, as long as it does not say the opposite."""
    return _RENAMED.get(name, f"--{name.replace('_', '-')}")
