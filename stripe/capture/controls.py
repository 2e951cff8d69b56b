"""Controls: the weights of a network that has not learned, or whose gates have not.

Attention hardly differs between images before a network is trained. What was learned is what differs from a control.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from stripe.adapter import Batch, eager
from stripe.capture.layout import Control, Epoch
from stripe.capture.ownership import gate_parameters, learned
from stripe.capture.sites import Site
from stripe.errors import StripeError
from stripe.modes import evaluating

__all__ = ["CONTROLS", "ControlPlan", "has_statistics", "initialise", "permute", "restored", "with_statistics"]

logger = logging.getLogger(__name__)

CONTROLS = ("init", "permuted")
"""The controls: the network at initialisation, and with the parameters of each gate permuted."""

_RESETS = ("reset_parameters", "_reset_parameters")


@dataclass(frozen=True)
class ControlPlan:
    """Which controls are made, and how.

    Attributes:
        names: Names out of ``CONTROLS``.
        fresh: Function that builds the same network anew, at initialisation. Without one, each module's own
            ``reset_parameters`` is called for the control ``init``.
        seed: Seed of the random numbers.
        optional: Whether a control that a network cannot have is left out with a warning; else it is refused.
    """

    names: tuple[str, ...]
    fresh: Callable[[], nn.Module] | None = None
    seed: int = 0
    optional: bool = False

    def __post_init__(self) -> None:
        if unknown := [name for name in self.names if name not in CONTROLS]:
            raise StripeError(f"There is no control {unknown[0]!r}; there are {' and '.join(CONTROLS)}.")

    def controls(self, model: nn.Module, batch: Batch, sites: Sequence[Site], last: Epoch) -> tuple[Control, ...]:
        """Describe the controls that a model can have.

        Args:
            model: The model, with the weights of the last epoch.
            batch: An image or two, as the model takes them.
            sites: All attention sites of the model.
            last: The last epoch of the capture, whose gates are permuted.

        Raises:
            StripeError: The model cannot have one of the controls, and they are not optional.
        """
        found = []
        for name in dict.fromkeys(self.names):
            reason, how = self._init(model) if name == "init" else self._permuted(gate_parameters(model, batch, sites))
            if reason and not self.optional:
                raise StripeError(f"The control {name} is not possible: {reason} Leave this control out.")
            if reason:
                logger.warning("without the control %s: %s", name, reason)
                continue
            of_init = name == "init"
            found.append(Control(name, 0 if of_init else last.number, self.seed, how, "" if of_init else last.digest))
        return tuple(found)

    def apply(self, name: str, model: nn.Module, batch: Batch, sites: Sequence[Site]) -> None:
        """Give a model the weights of a control; call it inside ``restored``."""
        if name == "init":
            initialise(model, self.fresh, self.seed)
        else:
            permute(gate_parameters(model, batch, sites), self.seed)

    def _init(self, model: nn.Module) -> tuple[str, str]:
        """Why the control ``init`` is not possible (empty where it is), and how it is made."""
        statistics = ", with the batch statistics of these images" if has_statistics(model) else ""
        if self.fresh is not None:
            return "", f"at initialisation, built anew with seed {self.seed}{statistics}"
        lacking = not_resettable(model)
        some = ", ".join(lacking[:3]) + (" …" if len(lacking) > 3 else "")
        reason = f"{len(lacking)} of its parameters belong to modules without reset_parameters ({some})."
        return reason if lacking else "", f"at initialisation, each module reset with seed {self.seed}{statistics}"

    def _permuted(self, parameters: Mapping[str, Tensor]) -> tuple[str, str]:
        """The same of the control ``permuted``."""
        several = [name for name, tensor in parameters.items() if tensor.numel() > 1]
        reason = "" if several else "no gate has parameters of its own that could be permuted."
        return reason, f"{len(several)} tensors of the gates permuted with seed {self.seed}"


@contextmanager
def restored(model: nn.Module) -> Iterator[None]:
    """A context after which all parameters and buffers of a model have the values that they had before.

    The random numbers that are drawn within are not missing afterwards.
    """
    held = {tensor: tensor.detach().clone() for tensor in (*model.parameters(), *model.buffers())}
    devices = {tensor.device for tensor in held if tensor.is_cuda}
    try:
        with torch.random.fork_rng(list(devices)):
            yield
    finally:
        with torch.no_grad():
            for tensor, values in held.items():
                tensor.copy_(values)


def initialise(model: nn.Module, fresh: Callable[[], nn.Module] | None, seed: int) -> None:
    """Give a model the weights of initialisation; call it inside ``restored``.

    A normalisation whose gains begin at 0, as the last one of each residual branch often does, has 1 instead: behind it
    the map is 0, and no gate could be compared with one of that.

    Args:
        model: The model, whose parameters are changed in place.
        fresh: Function that builds the same network anew; without one each module's own ``reset_parameters`` is called.
        seed: Seed of the random numbers.

    Raises:
        StripeError: The new network has other parameters.
    """
    torch.manual_seed(seed)
    if fresh is not None:
        state = fresh().state_dict()
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            raise StripeError(f"The network that was built anew as a control has other parameters: {error}") from error
    with torch.no_grad():
        for module in model.modules():
            if fresh is None and (reset := _reset_of(module)) is not None:
                reset()
        for module in model.modules():
            gain = getattr(module, "weight", None)
            if hasattr(module, "eps") and isinstance(gain, nn.Parameter) and gain.ndim == 1 and not gain.any():
                gain.fill_(1)


def not_resettable(model: nn.Module) -> list[str]:
    """Names of the parameters of a model that no ``reset_parameters`` gives the values of initialisation."""
    covered = {
        f"{path}.{name}" if path else name
        for path, module in model.named_modules(remove_duplicate=False)
        if _reset_of(module) is not None
        for name, _ in module.named_parameters(recurse=False)
    }
    return [name for name, tensor in learned(model).items() if name not in covered and tensor.numel() > 1]


def _reset_of(module: nn.Module) -> Callable[[], None] | None:
    found = (getattr(module, name, None) for name in _RESETS)
    return next((reset for reset in found if callable(reset)), None)


def permute(parameters: Mapping[str, Tensor], seed: int) -> None:
    """Permute the values of each tensor at random, in place; call it inside ``restored``.

    Args:
        parameters: Tensors by name, such as ``gate_parameters`` returns.
        seed: Seed of the permutations.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in parameters.values():
            order = torch.randperm(tensor.numel(), generator=generator).to(tensor.device)
            tensor.copy_(tensor.reshape(-1)[order].reshape(tensor.shape))


def has_statistics(model: nn.Module) -> bool:
    """Whether a batch normalisation of a model has seen images: whether its running statistics are not 0 and 1."""
    return any(
        mean is not None and var is not None and (bool(mean.any()) or bool((var - 1).any()))
        for mean, var in ((norm.running_mean, norm.running_var) for norm in _norms(model))
    )


def with_statistics(model: nn.Module, forward: Iterable[Callable[[], object]]) -> None:
    """Set the running statistics of the batch normalisations of a model to those of images.

    Within a batch each normalisation uses the statistics of that batch, as in training, without any other effect of
    the training mode. Afterwards it has the mean and the variance over all batches.

    Args:
        model: The model.
        forward: Functions that each run the model on one batch.
    """
    norms = _norms(model)
    if not norms:
        return
    found: dict[nn.Module, _Pooled] = {norm: _Pooled() for norm in norms}

    def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        mean, var = found[module].add(args[0].detach())
        module.running_mean.copy_(mean)  # type: ignore[operator]
        module.running_var.copy_(var)  # type: ignore[operator]

    handles = [norm.register_forward_pre_hook(hook) for norm in norms]
    try:
        with evaluating(model), torch.no_grad(), eager():
            for run_batch in forward:
                run_batch()
            for norm, pooled in found.items():
                if pooled.count:
                    norm.running_mean.copy_(pooled.mean)  # type: ignore[operator]
                    norm.running_var.copy_(pooled.squares / max(pooled.count - 1, 1))  # type: ignore[operator]
    finally:
        for handle in handles:
            handle.remove()


class _Pooled:
    """Mean and sum of squared deviations of all batches so far, merged by Chan's formula."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.squares = torch.zeros(())

    def add(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add a batch (N, C, …); return its own mean and variance."""
        axes = [axis for axis in range(values.ndim) if axis != 1]
        count = values.numel() // values.shape[1]
        var, mean = torch.var_mean(values.float(), axes, correction=0)
        total = self.count + count
        shift = mean - self.mean.to(mean)
        self.squares = self.squares.to(var) + var * count + shift**2 * (self.count * count / total)
        self.mean = self.mean.to(mean) + shift * (count / total)
        self.count = total
        return mean, var


def _norms(model: nn.Module) -> list[_BatchNorm]:
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
