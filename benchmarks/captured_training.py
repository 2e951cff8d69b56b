"""A training with capture of every epoch, for as many epochs as fit into the time, and its pictures.

    python benchmarks/captured_training.py --out FOLDER [--data folder:PATH] [--model resnet83] [--attention se]
        [--seconds 300] [--device cpu]

The script prints one JSON line per epoch, one per site with its verdict, and one for the whole training. A short trial
measures the time of an epoch, and the paper's recipe is scaled to the epochs that fit. If an epoch does not fit after
all, the training stops before it. ``FOLDER/run`` is the directory of the run; the pictures (stripe, std, diff, index
and training) are in ``FOLDER``.
"""

import argparse
import contextlib
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stripe import plots
from stripe.analysis import metrics, verdicts
from stripe.capture import open_capture
from stripe.data import Data, load
from stripe.training import RESNET, EpochMetrics, Run, train

DRAWING = 30  # seconds that are kept back for the pictures and verdicts
SPARE = 1.1  # epochs late in the training may be slower than the trial's, and the best one's weights are written
TRIAL = 0.2  # share of an epoch's images that each of the trial's two epochs trains on


class OutOfTimeError(Exception):
    """No time is left for another epoch."""


def epoch_seconds(train_for: Callable[..., Run], images: int) -> float:
    """Measure the seconds of an epoch with the given number of images, including scoring and capture."""
    with tempfile.TemporaryDirectory() as folder:
        some = max(RESNET.batch_size, round(TRIAL * images))
        last = train_for(Path(folder) / "trial", RESNET.scaled(2), some).history[-1]
    training = some / last.images_per_second
    return last.seconds - training + images / last.images_per_second


def pictures(run: Run, out: Path) -> None:
    """Draw every kind of plot that the capture can show, and the curves of the training."""
    out.mkdir(parents=True, exist_ok=True)
    for kind in ("stripe", "std", "diff", "index"):
        try:
            plots.save(plots.draw(kind, run.capture_file), out / f"{kind}.png")
        except plots.NothingToDrawError as error:  # one epoch has no differences
            say(what="picture", picture=kind, left_out=str(error))
    plots.save(plots.training([run]), out / "training.png")


def say(**fields: Any) -> None:
    print(json.dumps({"benchmark": "captured_training", **fields}), flush=True)


def main() -> None:
    started = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", default="shapes", help="as for `stripe train --data`")
    parser.add_argument("--model", default="resnet83")
    parser.add_argument("--attention", default="se")
    parser.add_argument("--seconds", type=float, default=300, help="that all of this may take")
    parser.add_argument("--epochs", type=int, default=RESNET.epochs, help="that there are at most")
    parser.add_argument("--images-per-epoch", type=int, help="random ones in each; default: all")
    parser.add_argument("--capture", type=int, default=500, help="test images whose attention is captured")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    deadline = started + args.seconds - DRAWING
    data: Data = load(args.data)

    def train_for(out: Path, recipe: Any, images: int | None, on_epoch: Any = None) -> Run:
        return train(
            out,
            data,
            model=args.model,
            attention=args.attention,
            recipe=recipe,
            images_per_epoch=images,
            capture=min(args.capture, len(data.test)),
            save_every=0,
            device=args.device,
            on_epoch=on_epoch,
        )

    per_epoch = epoch_seconds(train_for, args.images_per_epoch or len(data.train))
    epochs = min(args.epochs, max(1, int((deadline - time.monotonic()) / (SPARE * per_epoch))))

    def on_epoch(epoch: EpochMetrics) -> None:
        say(what="epoch", **epoch._asdict())
        if epoch.epoch < epochs and time.monotonic() + epoch.seconds > deadline:
            raise OutOfTimeError

    run = Run(args.out / "run")
    with contextlib.suppress(OutOfTimeError):
        train_for(run.path, RESNET.scaled(epochs), args.images_per_epoch, on_epoch)
    table = verdicts(metrics(open_capture(run.capture_file)))
    for site in table.astype(object).where(table.notna(), None).to_dict("records"):
        say(what="site", **site)
    pictures(run, args.out)
    say(
        what="whole",
        model=args.model,
        attention=args.attention,
        data=data.attrs.get("spec", data.spec),
        scale=run.scale,
        planned_epochs=epochs,
        epochs=len(run.history),
        expected_epoch_s=round(per_epoch, 2),
        batch_size=RESNET.batch_size,
        captured_images=min(args.capture, len(data.test)),
        best_test_accuracy=run.best.test_accuracy,
        last_test_accuracy=run.history[-1].test_accuracy,
        verdicts={str(name): int(count) for name, count in table["category"].value_counts().items()},
        seconds=round(time.monotonic() - started, 1),
    )


if __name__ == "__main__":
    main()
