"""Networks and batches as other people write them: each is another way to say the same."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.conftest import Net, SqueezeExcite

MODES: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "inference mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "enable_grad": torch.enable_grad,
}


class Se(Net):
    """One channel gate that varies over images."""

    def __init__(self) -> None:
        super().__init__(SqueezeExcite(4))
        nn.init.normal_(self.att.fc.weight, 0, 3)


@dataclass
class Output:
    logits: Tensor
    hidden: Tensor


class Named(NamedTuple):
    features: Tensor
    logits: Tensor


class Dataclass(Se):
    def forward(self, pixel_values: Tensor) -> Any:
        return Output(super().forward(pixel_values), pixel_values.mean())


class Dictionary(Se):
    def forward(self, x: Tensor) -> Any:
        return {"aux": x.mean(), "out": super().forward(x)}


class NamedTuples(Se):
    def forward(self, x: Tensor) -> Any:
        return Named(x.mean((1, 2, 3)), super().forward(x))


class Tuples(Se):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x), None


class InPlace(Se):
    def forward(self, x: Tensor) -> Tensor:
        x -= 0.5
        x *= 2
        x += 1
        x /= 2  # which is what was given, if it was not changed before
        return super().forward(x)


class Locked(Se):
    def __init__(self) -> None:
        super().__init__()
        self.lock, self.rows = threading.Lock(), iter([threading.Lock()])

    def forward(self, x: Tensor) -> Tensor:
        with self.lock:
            return super().forward(x)


class Checkpointed(Se):
    reentrant = False

    def forward(self, x: Tensor) -> Tensor:
        x = checkpoint(self.features, x, use_reentrant=self.reentrant)
        return self.fc(self.att(x).mean((2, 3)))


class Reentrant(Checkpointed):
    reentrant = True


class WithAutocast(Se):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(x).float()


class Graph(Se):
    """Keeps a tensor that has a graph, which cannot be copied."""

    def forward(self, x: Tensor) -> Tensor:
        self.last = super().forward(x)
        return self.last


OUTPUTS = {kind.__name__: kind for kind in (Dataclass, Dictionary, NamedTuples, Tuples)}
WAYS = {kind.__name__: kind for kind in (InPlace, Locked, Checkpointed, Reentrant, WithAutocast, Graph)}

BATCHES: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "tuple": lambda images, labels: (images, labels),
    "list": lambda images, labels: [images, labels],
    "three": lambda images, labels: (images, labels, ["a name"] * len(labels)),
    "dictionary": lambda images, labels: {"image": images, "label": labels},
    "list of images": lambda images, labels: (list(images), labels),
    "numbers": lambda images, labels: (images, labels.tolist()),
}


def plain(network: Se) -> Se:
    """The network as one would usually write it, with the same weights."""
    found = Se().eval()
    found.load_state_dict(network.state_dict())
    return found


def ambient(name: str) -> AbstractContextManager[object]:
    return MODES[name]() if name else nullcontext()
