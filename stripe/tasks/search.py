"""Structure search: which way to put attention together each block wants, learnt along with the network.

Liu et al., "DARTS: Differentiable Architecture Search", ICLR 2019, https://arxiv.org/abs/1806.09055, in its first
order, with the penalty of "Attention Module", section 2, on what is not wanted: on the identity above all.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from stripe.adapter import Batch
from stripe.attention.search import MixedAttention
from stripe.data import Data, Split
from stripe.data.base import Batches, IntArray, Share, strata
from stripe.data.crops import mix
from stripe.errors import StripeError
from stripe.tasks import structure
from stripe.tasks.base import OfRecipe, Place, Task
from stripe.tasks.classification import Classification
from stripe.tasks.options import SearchOptions
from stripe.tasks.registry import register
from stripe.tasks.scoring import Scoring
from stripe.tasks.template import template_of

__all__ = ["Search", "SearchScore", "penalty_of"]


class SearchScore(NamedTuple):
    """How far a search is.

    Attributes:
        loss: Mean cross-entropy over the images, plus the penalty.
        accuracy: Per cent of the images whose class gets the highest logit.
        penalty: The penalty, summed over the blocks.
        identity: Weight of the identity, averaged over the blocks.
        top5: As of ``stripe.tasks.Score``.
    """

    loss: float
    accuracy: float
    penalty: float
    identity: float
    top5: float


class Output(NamedTuple):
    """Logits (N, classes), and penalty and weight of the identity, a number each."""

    logits: Tensor
    penalty: Tensor
    identity: Tensor


@dataclass
class Turn:
    """Whose turn it is: batches are of either half of the images, and the step after each moves either α or the rest.

    Attributes:
        alpha: Whether it is that of α.
    """

    alpha: bool = False


def penalty_of(weights: Tensor, options: SearchOptions) -> Tensor:
    """The penalty ``w · Σᵢ pᵢᵐ · rᵢ``, summed over the blocks.

    Args:
        weights: p, (blocks, 5).
        options: Its w, m and r.

    Returns:
        A number.
    """
    ratios = _ratios(options.penalty_ratios, weights.dtype, weights.device)
    return options.penalty * (weights**options.penalty_power * ratios).sum()


@lru_cache(maxsize=8)
def _ratios(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    # Kept: a new tensor for every batch would make a GPU wait for a copy from the host.
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)


@register
class Search(Task):
    """Classification by a network whose blocks hold a ``MixedAttention``, and a choice for each of them.

    One half of the training images, of each class as many as of the other half, is for the weights of the network,
    which the recipe's optimiser moves; the other half is for α, which Adam moves, at a rate of its own that stays the
    same. Their batches take turns. What is minimised is the cross-entropy plus the penalty. α of each block and epoch
    is kept in the run, see ``stripe.tasks.structure``.

    Args:
        classes: As of ``Classification``.
        options: Penalty and rate; None: those of the report.
    """

    name: ClassVar[str] = "search"
    options = SearchOptions
    scoring = Scoring(
        ("loss", "accuracy", "penalty", "identity"),
        losses=("penalty",),
        labels={"identity": "weight of the identity"},
        units={"accuracy": "%"},
    )

    def __init__(self, classes: int | None = None, options: SearchOptions | None = None) -> None:
        super().__init__(options)
        self.chosen: SearchOptions = self.chosen
        self._classification = Classification(classes)
        self._turn = Turn()

    @classmethod
    def of_data(cls, data: Data, options: SearchOptions | None = None) -> Self:
        """The search on some data, which has classes."""
        return cls(Classification.of_data(data).classes, options)

    def prepare(self, model: nn.Module, data: Data, compute: Place) -> None:
        """Look for blocks whose structure can be searched.

        Raises:
            StripeError: There is none.
        """
        mixed(model)

    def batches(
        self,
        split: Split,
        batch_size: int,
        *,
        seed: int,
        epoch: int,
        images_per_epoch: int | None = None,
        device: torch.device | str = "cpu",
        workers: int | None = None,
        share: Share = np.arange,
    ) -> Batches:
        """Batches of both halves in turn, that of α first. Of ``images_per_epoch`` each half gives one half.

        Raises:
            StripeError: There are too few images for two halves.
        """
        halves = halved(split, seed)
        count = min(len(halves[0]), (images_per_epoch or len(split)) // 2)
        count -= count > 1 and count % batch_size == 1  # batch statistics of a single image say nothing
        if count < 2:
            raise StripeError(
                f"A search trains α on one half of the images and the weights on the other, two images each at least; "
                f"{images_per_epoch or len(split)} are too few."
            )
        parts = []
        for number, half in enumerate(halves):
            generator = torch.Generator().manual_seed(mix(seed, epoch, 0, number))
            order = half[torch.randperm(len(half), generator=generator).numpy()[:count]]
            drawn = mix(seed, epoch, 1, number)
            parts.append(
                split.augmented(
                    batch_size, indices=order, seed=drawn, device=torch.device(device), workers=workers, share=share
                )
            )
        return Halves(parts[0], parts[1], self._turn)

    def collate(self, images: Any, labels: Any) -> tuple[Any, Any]:
        """As in ``Classification``."""
        return self._classification.collate(images, labels)

    def forward(self, model: nn.Module, batch: Batch, targets: Any) -> Output:
        """Logits and penalty.

        Raises:
            StripeError: The network has no block whose structure could be searched, or tells too few classes apart.
        """
        weights = torch.stack([module.weights() for module in mixed(model).values()])
        logits = self._classification.forward(model, batch, targets)
        return Output(logits, penalty_of(weights, self.chosen), weights[:, 0].detach().mean())

    def losses(self, output: Output, targets: Tensor) -> Mapping[str, Tensor]:
        """Mean cross-entropy, and the penalty."""
        return {**self._classification.losses(output.logits, targets), "penalty": output.penalty}

    def smoothed(self, label_smoothing: float) -> Self:
        """As in ``Classification``, for the weights and for α; whose turn it is, both tasks know."""
        task = copy(self)
        task._classification = self._classification.smoothed(label_smoothing)
        return task

    def sums(self, output: Output, targets: Tensor, *, training: bool) -> Tensor:
        """The weight of the identity, once per image, and the sums of ``Classification``."""
        hits = self._classification.sums(output.logits, targets, training=training)
        return torch.cat([output.identity[None] * len(targets), hits])

    def score(self, loss: float, sums: Sequence[float], images: int) -> SearchScore:
        """See ``SearchScore``."""
        penalty, identity, *hits = sums
        found = self._classification.score(loss, hits, images)
        return SearchScore(loss, found.accuracy, penalty, identity / images, found.top5)

    def optimizers(self, model: nn.Module, recipe: OfRecipe) -> list[torch.optim.Optimizer]:
        """The recipe's for the weights; Adam for α, as in DARTS but for its rate. Each moves in its turn alone."""
        alphas = [module.alpha for module in mixed(model).values()]
        own = {id(alpha) for alpha in alphas}
        rest = recipe.optimizers((name, each) for name, each in model.named_parameters() if id(each) not in own)
        rate = self.chosen.alpha_lr
        adam = torch.optim.Adam(alphas, lr=rate, betas=(0.5, 0.999), weight_decay=1e-3)
        for optimizer in (*rest, adam):
            optimizer.register_step_pre_hook(InTurn(self._turn, rate if optimizer is adam else None))
        return [*rest, adam]

    def after_epoch(self, model: nn.Module, epoch: int, folder: Path) -> None:
        """Keep α of each block."""
        modules = mixed(model)
        first = next(iter(modules.values()))
        alpha = {name: module.alpha.detach().float().cpu().numpy() for name, module in modules.items()}
        attention = template_of(_asked_for(folder), list(modules.values()))
        structure.write(folder, epoch, alpha, family=first.family, kernel_size=first.kernel_size, attention=attention)


class Halves(Batches):
    """Batches of two halves of a split, which take turns.

    Args:
        alpha: The batches for α.
        weights: As many batches for the weights.
        turn: Is told whose batch comes.
    """

    def __init__(self, alpha: Batches, weights: Batches, turn: Turn) -> None:
        # The order of the images in a pass.
        size, count = alpha.batch_size, alpha.num_images
        pairs = [(alpha.indices[i : i + size], weights.indices[i : i + size]) for i in range(0, count, size)]
        super().__init__(np.concatenate([part for pair in pairs for part in pair]), size)
        self._alpha, self._weights, self._turn = alpha, weights, turn

    def __len__(self) -> int:
        return len(self._alpha) + len(self._weights)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for of_alpha, of_weights in zip(self._alpha, self._weights, strict=True):
            self._turn.alpha = True
            yield of_alpha
            self._turn.alpha = False
            yield of_weights


@dataclass(frozen=True)
class InTurn:
    """Before a step of an optimiser: without gradients it moves nothing, which is what it does out of turn.

    Attributes:
        turn: Whose turn it is.
        alpha_lr: The rate of α, if this is its optimiser; None if it is one of the weights'.
    """

    turn: Turn
    alpha_lr: float | None

    def __call__(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """Take away the gradients out of turn; in turn, have the rate of α stay as it is, whatever the schedule."""
        of_alpha = self.alpha_lr is not None
        if of_alpha != self.turn.alpha:
            optimizer.zero_grad(set_to_none=True)
        if of_alpha:
            for group in optimizer.param_groups:
                group["lr"] = self.alpha_lr


def halved(split: Split, seed: int) -> tuple[IntArray, IntArray]:
    """Indices of two halves of a split, of each class as many in either, give or take one; of equal size.

    Args:
        split: The training images.
        seed: Of the run; each draws other halves, and the same in every epoch.

    Returns:
        For α, and for the weights; one image is left out where their number is odd.
    """
    shuffled = np.random.default_rng(mix(seed, 2)).permutation(len(split))
    by_class = shuffled[np.argsort(strata(split.labels)[shuffled], kind="stable")]
    count = len(split) // 2
    return by_class[0 : 2 * count : 2], by_class[1 : 2 * count : 2]


def _asked_for(folder: Path) -> str:
    """The attention that the settings of a run say."""
    record = json.loads((folder / "run.json").read_bytes())
    return str(record["settings"].get("attention", "none"))


def mixed(model: nn.Module) -> dict[str, MixedAttention]:
    """The modules of a network whose structure is searched, by name, in the order of the forward pass.

    Raises:
        StripeError: There is none.
    """
    found = {name: module for name, module in model.named_modules() if isinstance(module, MixedAttention)}
    if not found:
        raise StripeError(
            "This network has no attention whose structure could be searched; give attention='sscbam' or 'ssmvam'."
        )
    return found
