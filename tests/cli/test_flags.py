import logging
import subprocess
import sys

import click
import pytest

from stripe.cli.flags import in_flags

COMMAND = click.Command(
    "record",
    params=[
        click.Option(["--image-size"]),
        click.Option(["--weights", "entry"]),
        click.Option(["--dtype"]),
        click.Option(["--download"], is_flag=True),
        click.Option(["--no-input"], is_flag=True),
        click.Option(["--epoch"]),
        click.Option(["--asr-start"]),
    ],
)


@pytest.mark.parametrize(
    ("message", "translated"),
    [
        ("epochs= is empty", "epochs= is empty"),
        ("say it with image_size=", "say it with --image-size"),
        ("say it with image_size=.", "say it with --image-size."),
        ("take image_size=48, or less", "take --image-size 48, or less"),
        ('record dtype="float32", or', "record --dtype float32, or"),
        ("choose weights='the teacher'.", "choose --weights 'the teacher'."),
        ("(with download=True)", "(with --download)"),
        ("ψ gets no gradient; start='alive' helps", "ψ gets no gradient; --asr-start alive helps"),
        ("or record_input=False)", "or --no-input)"),
        ("give preprocess=, such as lambda images: images", "give preprocess=, such as lambda images: images"),
        ("check image_size=, or load what fits with partial=True", "check --image-size"),
        (
            "check image_size=, or load what fits with download=True.",
            "check --image-size, or load what fits with --download.",
        ),
        ('give labels, or measure="agreement"', "give labels"),
        ("give image_size=, or partial=True to skip (a).", "give --image-size, or partial=True to skip (a)."),
        ("a/epoch=12-step=900.ckpt is damaged", "a/epoch=12-step=900.ckpt is damaged"),
        ("epoch=12-step=900.ckpt is damaged", "epoch=12-step=900.ckpt is damaged"),
        ("epoch=3.ckpt and run/epoch=4 are damaged", "epoch=3.ckpt and run/epoch=4 are damaged"),
    ],
)
def test_arguments_become_the_flags_of_the_command(message, translated):
    assert in_flags(message, COMMAND) == translated


def test_errors_and_warnings_of_the_library_reach_the_user_of_a_command_with_flags(tmp_path):
    program = (
        "import logging, stripe.cli\n"
        "from stripe.errors import StripeError\n"
        "def refuse(*_, **__):\n"
        "    logging.getLogger('stripe.checkpoint').warning('%s: take weights=%r', 'a.pth', 'ema')\n"
        "    raise StripeError('choose image_size=64')\n"
        "stripe.cli.LazyGroup.get_command(stripe.cli.main, None, 'capture').callback = refuse\n"
        "stripe.cli.main(['capture', '--model', 'resnet11'])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert "choose --image-size 64" in done.stderr
    assert "a.pth: take --weights ema" in done.stderr


def test_the_handler_of_last_resort_is_left_without_filters():
    from click.testing import CliRunner

    from stripe.cli import main

    CliRunner().invoke(main, ["inspect"])
    assert logging.lastResort is not None
    assert not logging.lastResort.filters
