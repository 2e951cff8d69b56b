"""Trains the same tiny run again and again, each time killed somewhere else and then gone on with.

A script of its own so that it can fork before torch has started any thread: ``python killed_runs.py FOLDER``.
"""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import torch

from stripe import checkpoint
from stripe.capture.file import CaptureFile
from stripe.data import load
from stripe.training import RESNET, Run, loop, train

# Where → (module or class, function, which call of it, whether after it).
MOMENTS = {
    "in-the-middle-of-an-epoch": (loop, "evaluate", 2, False),
    "in-the-middle-of-a-capture": (CaptureFile, "finish", 2, False),
    "before-the-checkpoint": (checkpoint, "save", 3, False),  # each epoch's own, and the first one is the best so far
    "before-the-best-checkpoint": (checkpoint, "save", 2, False),
    "before-the-metrics": (Run, "write_metrics", 2, False),
    "before-the-state": (loop, "save_state", 2, False),
    "in-the-middle-of-the-state": (Path, "replace", 5, False),
    "before-the-first-state": (loop, "save_state", 1, False),
    "after-the-first-epoch": (loop, "save_state", 1, True),
}


def run(out):
    torch.set_num_threads(1)
    recipe = replace(RESNET, batch_size=8).scaled(2)
    train(
        out,
        load("shapes:train=20,test=12", image_size=16),
        model="resnet11",
        attention="se",
        recipe=recipe,
        capture=5,
        device="cpu",
    )


def die_at(owner, name, call, after):
    original, calls = getattr(owner, name), []

    def deadly(*args, **kwargs):
        calls.append(name)
        if len(calls) == call and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)


def forked(*steps):
    """Start a process that takes these steps."""
    if (child := os.fork()) != 0:
        return child
    try:
        for function, *args in steps:
            function(*args)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def main(folder):
    outs = {moment: folder / moment for moment in MOMENTS}
    dying = [forked((die_at, *MOMENTS[moment]), (run, out)) for moment, out in outs.items()]
    whole = forked((run, folder / "whole"))
    assert all(os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL for child in dying)
    going_on = [forked((run, out)) for out in outs.values()]
    assert all(os.waitpid(child, 0)[1] == 0 for child in [*going_on, whole])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
