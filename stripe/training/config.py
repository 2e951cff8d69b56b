"""A run, wholly said: which network is trained on what, and how. Equal configurations are one run."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args, get_type_hints

from stripe import models
from stripe.data.size import ImageSize
from stripe.errors import StripeError
from stripe.models.spec import AsrSpec, Mode, ModelSpec, NoiseSpec, Range, fits, in_words, out_of_range
from stripe.names import data_name, run_name
from stripe.tasks.options import OPTIONS, made, unusual
from stripe.training.recipe import RESNET, Precision, Recipe

__all__ = ["RunConfig"]

VERSION = 1
"""Part of every address; to be raised when the same settings come to mean another result."""

_OF_DATA = {"data", "image_size", "train_images", "test_images"}
"""Fields that decide the images and nothing else."""

_OF_ASR = {"where": None, "copies": 1, "psi": None, "psi_fixed": False, "asr_start": "paper"}
"""Fields of ASR, with their defaults."""

_OF_NETWORK = {"model", "mode", "attention", *_OF_ASR, "noise", "noise_random", "num_classes", "args"}
"""Fields that ``RunConfig.spec`` holds in another form."""

_OF_TASK = {"task", "task_args"}
"""Fields that the settings of a run hold as ``Task.settings`` says them."""

_LATER = {"accumulate": 1, "ema": None, "backbone_ckpt": None}
"""Fields that the addresses of the first release do not contain, with the values that they had then."""


@dataclass(frozen=True)
class RunConfig:
    """Everything that determines the result of a training.

    The fields are the settings of ``stripe train``, too: its options have their types, defaults, ranges and ``help``.

    Attributes:
        model: The network's name, as for ``stripe.models.build``.
        data: What to train on, as for ``stripe.data.load``.
        recipe: How to optimise; ``RESNET.scaled(12)`` for twelve epochs. Its batches are those of all processes. None:
            not at all, for published weights that are taken as they are.
        mode: ``none``, ``attention`` (κ in the network), ``asr`` (ASR(κ) instead) or ``both`` (the paper's table 4);
            None: ``attention`` where ``attention`` is given, else ``none``.
        attention: κ, as for ``stripe.attention.attention_factory``; SE where the mode needs one and none is given.
        where: After which layers ASR goes, a pattern of names; None: where the paper puts it.
        copies: δ, how many ASR at each place (table 7).
        psi: ψ's first value: a number, ``"C0.1"`` or ``"N0.3"`` (tables 8 and 13); None: the paper's.
        psi_fixed: Whether ψ stays as it is (table 8).
        asr_start: ``alive``: ASR that could not learn is drawn again; ``paper``: it stays, and a warning says so.
        noise: N_a and N_b, which disturb every batch normalisation (table 9); 1, 0 is no noise.
        noise_random: Standard deviation of N_a and N_b over the channels, drawn once.
        num_classes: Outputs of the classifier; None: as many as the data has.
        args: Further arguments of the model's constructor.
        pretrained: Begin from published weights (``torchvision:``, ``timm:``).
        select: What the best epoch is chosen by: ``val``, a tenth of the training images, which are held out (the same
            for every seed); or ``test``, the test split itself, as the official logs do, and nothing is held out.
        accumulate: In how many parts, one after the other, a batch is computed, where it does not fit the memory.
        ema: Decay of an exponential moving average of the weights, updated after each step, which is scored, captured
            and saved instead of them; None: there is none.
        seed: Decides the initial weights, order, augmentation and the captured images.
        images_per_epoch: Train on so many random images in each epoch; None: all.
        capture: Record the attention for so many test images after each epoch, and before training as the control
            ``init`` of the capture; 0: none.
        precision: Of convolutions and matrix products; None: bfloat16 on GPUs that have it, else float32.
        image_size: Height and width in pixels, one number where they are equal; None: those of the data, or what a
            third-party network expects.
        train_images: The training images are so many of the data set's; None: all.
        test_images: The same of the test images.
        task: What the network is trained for, the name of a registered task; None: what the network's name says.
        task_args: The options of the task that are not as by default, see ``stripe.tasks.options``.
        backbone_ckpt: Checkpoint of a classifier whose weights the backbone of a detector or segmenter begins with.

    Raises:
        StripeError: A setting is out of its range, or settings make no sense together; the message names them.

    Example:
        >>> RunConfig("resnet83", "cifar10", mode="asr", attention="eca", seed=1).spec.asr.attention
        'eca'
    """

    model: str = "resnet29"
    data: str = "shapes"
    recipe: Recipe | None = RESNET
    mode: Mode | None = field(
        default=None,
        metadata={
            "help": "--attention κ in the network, ASR(κ) instead, or both. Default: attention, where one is given."
        },
    )
    attention: str = "none"
    where: str | None = field(
        default=None,
        metadata={
            "metavar": "PATTERN",
            "help": "Layers that ASR follows, as 'layer*.bn3'. Default: as in the paper.",
        },
    )
    copies: int = field(default=1, metadata={"range": Range(1), "help": "δ, how many ASR at each place."})
    psi: float | str | None = field(
        default=None, metadata={"help": "ψ's first value: 0.1, C0.1 or N0.3. Default: the paper's."}
    )
    psi_fixed: bool = field(default=False, metadata={"help": "Don't train ψ."})
    asr_start: Literal["paper", "alive"] = field(
        default="paper",
        metadata={
            "help": "alive: draw ASR that cannot learn (none of its hidden units is on) again; paper: keep it.",
        },
    )
    noise: tuple[float, float] = field(
        default=(1.0, 0.0),
        metadata={
            "help": "Disturb every batch normalisation: N_a times the normalised map, plus N_b. Default: 1,0, no noise."
        },
    )
    noise_random: float = field(
        default=0.0,
        metadata={
            "range": Range(0),
            "metavar": "STD",
            "help": "Draw N_a and N_b of each channel, once, with this standard deviation.",
        },
    )
    num_classes: int | None = field(
        default=None, metadata={"range": Range(1), "help": "Default: as many as the data has."}
    )
    args: Mapping[str, Any] = field(default_factory=dict, hash=False)
    pretrained: bool = field(default=False, metadata={"help": "Download published weights (torchvision:, timm:)."})
    select: Literal["val", "test"] = field(
        default="val",
        metadata={
            "help": "Choose the best epoch by a tenth of the training images, held out, or by the test split, as the "
            "paper does."
        },
    )
    accumulate: int = field(
        default=1,
        metadata={"range": Range(1), "metavar": "K", "help": "Compute each batch in K parts, for want of memory."},
    )
    ema: float | None = field(
        default=None,
        metadata={
            "range": Range(0, 1, low_open=True, high_open=True),
            "metavar": "DECAY",
            "help": "Score and keep a moving average of the weights, as 0.999. Default: the weights.",
        },
    )
    seed: int = field(default=0, metadata={"range": Range(0), "help": "Decides everything that is random."})
    images_per_epoch: int | None = field(
        default=None,
        metadata={"range": Range(1), "help": "Random images to train on in each epoch. Default: all."},
    )
    capture: int = field(
        default=0,
        metadata={
            "range": Range(0),
            "metavar": "N",
            "help": "Record the attention for N test images, before training and after every epoch, in OUT/capture.h5.",
        },
    )
    precision: Precision | None = field(
        default=None,
        metadata={
            "help": "Of training. Default: bfloat16 on GPUs that have it, else float32; newer CPUs train twice as fast "
            "in bfloat16."
        },
    )
    image_size: ImageSize | None = field(
        default=None,
        metadata={
            "help": "Of the images in pixels: a side, or height x width as 48x192. Default: what the model expects."
        },
    )
    train_images: int | None = None
    test_images: int | None = None
    task: str | None = field(
        default=None,
        metadata={
            "metavar": "NAME",
            "help": "What to train for: classification, detection … Default: what the model is for.",
        },
    )
    task_args: Mapping[str, Any] = field(default_factory=dict, hash=False)
    backbone_ckpt: str | None = field(
        default=None,
        metadata={
            "metavar": "FILE",
            "help": "Checkpoint of a classifier, whose weights the backbone of a detector or segmenter begins with.",
        },
    )

    def __post_init__(self) -> None:
        if self.mode not in (None, *get_args(Mode)):
            raise StripeError(f"unknown mode {self.mode!r}; there are {', '.join(get_args(Mode))}")
        object.__setattr__(self, "args", _plain(self.args or {}, "The model's arguments"))
        object.__setattr__(self, "task_args", _plain(self.task_args or {}, "The options of the task"))
        kinds = get_type_hints(type(self))
        for name, kind in kinds.items():
            if not fits(value := getattr(self, name), kind):
                raise StripeError(f"{name} is {value!r}; it must be {in_words(kind)}.")
        object.__setattr__(self, "noise", tuple(map(float, self.noise)))
        for name, numbers in out_of_range(self).items():
            raise StripeError(f"{name} is {getattr(self, name)}; it must be {in_words(kinds[name])}, {numbers}.")
        of_asr = ", ".join(name for name, default in _OF_ASR.items() if getattr(self, name) != default)
        if of_asr and self.spec.asr is None:
            raise StripeError(
                f"{of_asr}: a setting of ASR, and there is none in mode {self.spec.mode}; give mode='asr' or 'both'"
            )
        _ = self.task_options  # raises where they are wrong

    @property
    def task_name(self) -> str:
        """What the network is trained for: ``task``, or what the network's name says."""
        return self.task or models.task_of(self.model)

    @property
    def task_options(self) -> Any:
        """The options of the task, an object of their dataclass; None where it has none, or is not one of ours."""
        own = self.task_name in ("classification", *OPTIONS)
        return made(OPTIONS.get(self.task_name), self.task_args, self.task_name) if own else None

    @property
    def spec(self) -> ModelSpec:
        """The network."""
        mode = self.mode or ("none" if self.attention == "none" else "attention")
        kappa = "se" if self.attention == "none" else self.attention
        asr = AsrSpec(kappa, self.where, self.psi, not self.psi_fixed, self.copies, start=self.asr_start)
        noisy = self.noise != (1.0, 0.0) or self.noise_random != 0
        return ModelSpec(
            model=self.model,
            attention=kappa if mode in {"attention", "both"} else "none",
            asr=asr if mode in {"asr", "both"} else None,
            noise=NoiseSpec(*self.noise, self.noise_random) if noisy else None,
            num_classes=self.num_classes,
            args=self.args,
        )

    @property
    def epochs(self) -> int:
        """Number of epochs of the training; 0 where published weights are taken as they are."""
        return self.recipe.epochs if self.recipe else 0

    def description(self, num_classes: int = 1) -> dict[str, Any]:
        """The network as files describe it, where the configuration leaves the number of classes to the data."""
        spec = self.spec
        return (spec if self.num_classes is not None else replace(spec, num_classes=num_classes)).to_meta()

    def training(self) -> dict[str, Any]:
        """How the network is trained: the settings that are not its own, the data's or the task's, ready for JSON."""
        names = [entry.name for entry in fields(self) if entry.name not in _OF_DATA | _OF_NETWORK | _OF_TASK]
        said = {name: getattr(self, name) for name in names} | {"recipe": self.recipe and self.recipe.settings()}
        return said if self.backbone_ckpt else {key: said[key] for key in said if key != "backbone_ckpt"}

    def address(self, data: Mapping[str, Any]) -> str:
        """A name for the run's directory, as ``resnet29-se-cifar10-1a2b3c4d``.

        The digits are the first of the SHA-256 of all settings and of what is known of the data, as JSON. Settings that
        mean the same network have the same address.

        Args:
            data: What determines the images, see ``stripe.data.Data.attrs``.
        """
        described = self.description()
        own = {key: getattr(self, key) for key in ("copies", "psi", "psi_fixed", "noise_random")} | self.training()
        own = {key: value for key, value in own.items() if key not in _LATER or value != _LATER[key]}
        if (task := self.task_name) != "classification":
            chosen = self.task_options
            options = dict(self.task_args) if chosen is None else unusual(chosen)
            own |= {"task": task, **({"task_args": options} if options else {})}
        settings = {**own, **described, "data": dict(data), "version": VERSION}
        text = json.dumps(settings, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        digest = hashlib.sha256(text.encode()).hexdigest()
        # ``shapes:seed=3`` → ``shapes``; ``folder:cifar`` → ``cifar``.
        of_data = data_name(str(data["spec"])).removeprefix("folder ").partition(":")[0]
        words = [run_name(described), "published" if self.recipe is None else "", of_data]
        readable = "-".join(re.sub(r"[^\w.]+", "-", word).strip("-") for word in words if word)
        return f"{readable}-{digest[:8]}"


def _plain(args: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Arguments as a file can hold them, to make the same again."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(args))
    except TypeError as error:
        raise StripeError(f"{what} must be numbers, texts, lists or truth values: {error}.") from None
    return plain
