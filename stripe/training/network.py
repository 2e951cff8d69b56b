"""What is trained: a backbone with attention, with ASR, with both or with neither, and perhaps with noise."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal, get_args

from torch import nn

from stripe import models
from stripe.asr import reparameterize
from stripe.asr.noise import add_noise
from stripe.errors import StripeError
from stripe.models.spec import AsrSpec, Mode, ModelSpec, NoiseSpec

__all__ = ["Mode", "build", "describe"]


def describe(
    model: str,
    *,
    mode: str | None = None,
    attention: str = "none",
    where: str | None = None,
    copies: int = 1,
    psi: float | str | None = None,
    psi_fixed: bool = False,
    asr_start: Literal["paper", "alive"] = "paper",
    noise: tuple[float, float] = (1.0, 0.0),
    noise_random: float = 0.0,
    num_classes: int,
    args: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The description of a network, ready for JSON, as runs and checkpoints hold it; see `build`.

    Args:
        model: The backbone's name, as for `stripe.models.build`.
        mode: ``none``, the plain backbone; ``attention``, κ in its blocks; ``asr``, ASR(κ) instead; ``both``, ASR(κ)
            and κ (the paper's table 4). None: ``attention`` where ``attention`` is given, else ``none``.
        attention: κ, a name of `stripe.attention.ATTENTION`; SE where the mode needs one and none is given.
        where: After which layers ASR goes, a pattern of names; None: where the paper puts it.
        copies: δ, how many ASR at each place (table 7).
        psi: ψ's first value, a number, ``C0.1`` or ``N0.3`` (tables 8 and 13); None: the paper's.
        psi_fixed: Whether ψ stays as it is (table 8).
        asr_start: ``alive``: ASR that could not learn is drawn again, see `stripe.asr.reparameterize`.
        noise: N_a and N_b in every batch normalisation (table 9); 1, 0 is no noise.
        noise_random: Standard deviation of N_a and N_b over the channels.
        num_classes: Outputs of the classifier.
        args: Further arguments of the model's constructor.

    Returns:
        ``model``, ``mode``, ``attention`` (what is in the network's blocks, none in mode ``asr``), ``asr`` (arguments
        of `stripe.asr.reparameterize`, or None), ``noise`` (arguments of `stripe.asr.noise.add_noise`, or None),
        ``num_classes``, ``args``.

    Raises:
        StripeError: The mode is unknown, or settings of ASR are given without ASR.
    """
    if mode is None:
        mode = "none" if attention == "none" else "attention"
    if mode not in get_args(Mode):
        raise StripeError(f"unknown mode {mode!r}; there are {', '.join(get_args(Mode))}")
    kappa = "se" if attention == "none" else attention
    with_asr = mode in {"asr", "both"}
    given = {"where": where is not None, "copies": copies != 1, "psi": psi is not None, "psi_fixed": psi_fixed}
    given["asr_start"] = asr_start != "paper"
    if not with_asr and any(given.values()):
        named = ", ".join(name for name, is_given in given.items() if is_given)
        raise StripeError(f"{named}: a setting of ASR, and there is none in mode {mode}; say --mode asr or both")
    factor, offset = noise
    noisy = noise != (1.0, 0.0) or noise_random != 0
    return ModelSpec(
        model=model,
        attention=kappa if mode in {"attention", "both"} else "none",
        asr=AsrSpec(kappa, where, psi, not psi_fixed, copies, start=asr_start) if with_asr else None,
        noise=NoiseSpec(factor, offset, noise_random) if noisy else None,
        num_classes=num_classes,
        args=_plain(args or {}),
    ).to_meta()


def build(description: ModelSpec | Mapping[str, Any], *, pretrained: bool = False) -> nn.Module:
    """Build the network of a description, its weights drawn from torch's global generator.

    Args:
        description: The network, or what `describe` gave.
        pretrained: Download published weights of the backbone.

    Raises:
        StripeError: A name is unknown, or a part does not fit the network.
    """
    spec = description if isinstance(description, ModelSpec) else ModelSpec.from_meta(description)
    network = models.build(
        str(spec.model),
        num_classes=spec.num_classes,
        attention=spec.attention,
        pretrained=pretrained,
        args=spec.args,
    )
    # Last, so that the backbone begins with the same weights in every mode and under every noise.
    if spec.asr:
        reparameterize(network, **asdict(spec.asr))
    if spec.noise:
        add_noise(network, **asdict(spec.noise))
    return network


def _plain(args: Mapping[str, Any]) -> dict[str, Any]:
    """The model's arguments as a checkpoint can hold them, to build the model again."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(args))
    except TypeError as error:
        raise StripeError(f"The model's arguments must be numbers, texts, lists or truth values: {error}.") from None
    return plain
