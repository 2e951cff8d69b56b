"""The command line: one thin file per command, which is imported only when the command is called."""

import importlib
import io
import logging
import sys
from typing import Any

import click

from stripe import __version__
from stripe.cli.flags import in_flags
from stripe.errors import StripeError

__all__ = ["main"]

# Summary of each command; the file of the same name in this folder holds its function ``command``.
COMMANDS = {
    "demo": "The whole story in three minutes: train, capture, analyse, plot. No data needed.",
    "inspect": "List the attention sites of a model or of a capture.",
    "capture": "Record attention values of checkpoints over a fixed set of images.",
    "gradcam": "Average Grad-CAM over images: where does a network look?",
    "analyze": "Measure how constant the attention in a capture is.",
    "compare": "Compare how constant the attention of several networks is.",
    "plot": "Draw the paper's figures from a capture.",
    "report": "Write one HTML page about a run or a capture, to zoom into and to hand on.",
    "train": "Train a network and record its attention at every epoch.",
    "search": "Search which attention, and in which order, each block of a network wants.",
    "evaluate": "Top-1 and top-5 accuracy and loss of a checkpoint on a data set.",
    "stylize": "Give images the style that a network has learned.",
    "fuse": "Fold a network's ASR into its weights: the same outputs at the plain network's cost.",
    "fold": "Make a trained network's attention constants, and fold these into its weights.",
    "bench": "Measure parameters, FLOPs and speed of networks, with attention, with ASR, fused.",
    "reproduce": "Draw figures and tables of the papers, and train what they need.",
}


class LazyGroup(click.Group):
    """A group that imports the file of a command when it is called, so that ``stripe --help`` does not import torch."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"stripe.cli.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Print errors of the library as one message, and exit with 1; its arguments become flags of the command."""
        for stream in (sys.stdout, sys.stderr):  # so that a path that is not UTF-8 can be printed, too
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")

        def translated(message: str) -> str:
            command = self.get_command(ctx, ctx.invoked_subcommand or "")
            return message if command is None else in_flags(message, command)

        def translate(record: logging.LogRecord) -> bool:
            if record.name.startswith("stripe"):
                record.msg, record.args = translated(record.getMessage()), None
            return True

        handler = logging.lastResort  # warnings of the library, if nobody has set up logging
        if handler:
            handler.addFilter(translate)
        try:
            return super().invoke(ctx)
        except StripeError as error:
            click.secho(f"Error: {translated(str(error))}", fg="red", err=True)
            sys.exit(1)
        finally:
            if handler:
                handler.removeFilter(translate)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="stripe")
def main() -> None:
    """Is the attention in a vision network a constant? See it, measure it, and make it free.

    Start with `stripe demo`; then `stripe COMMAND --help`.
    """
