"""Top-5 accuracies, which a run does not record: its best and its last weights are scored again, once."""

import json
from pathlib import Path

from stripe import checkpoint
from stripe.devices import pick_device
from stripe.files import write_whole
from stripe.reproduce.cache import Planned
from stripe.reproduce.sources import Sources
from stripe.training import Compute, evaluate

__all__ = ["top5"]


def top5(planned: Planned, sources: Sources, *, device: str | None = None) -> tuple[float, float]:
    """Per cent of the test images whose class is among the five with the highest logits.

    What was measured is kept in the run's directory as ``top5.json``.

    Args:
        planned: A finished run.
        sources: Where its data comes from.
        device: Where to compute.

    Returns:
        At the best epoch, and after the last.

    Raises:
        StripeError: The data is not there, or a checkpoint is damaged.
    """
    kept = planned.path / "top5.json"
    if not kept.exists():
        run = planned.run
        files = {"best": run.best_file, "last": run.checkpoints[-1]}
        scores = {name: _score(path, planned, sources, device) for name, path in files.items()}
        write_whole(kept, f"{json.dumps(scores, indent=2)}\n".encode())
    found = json.loads(kept.read_text())
    return float(found["best"]), float(found["last"])


def _score(path: Path, planned: Planned, sources: Sources, device: str | None) -> float:
    data = sources.load(planned.request)
    compute = Compute.on(pick_device(device), planned.request.precision)
    model = compute.place(checkpoint.restore(checkpoint.read(path)))
    return evaluate(model, data.test.loader(128), data, compute).top5
