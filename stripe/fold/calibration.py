"""The mean attention of each site over the calibration images, and how far it varies."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from stripe.adapter import copy_model, run
from stripe.capture import Recorder, Site, discover
from stripe.errors import StripeError
from stripe.fold.sample import Sample
from stripe.fold.sites import Foldable, put_gates
from stripe.modes import evaluating
from stripe.progress import track

__all__ = ["Calibration", "calibrate", "calibrate_in_turn"]


@dataclass(frozen=True)
class Calibration:
    """Mean and variance of a site's attention over the calibration images.

    Attributes:
        mean: v̄, float64, of the shape of an image's attention; (C,) for a channel site.
        variance: The population variance over the images, likewise.
    """

    mean: Tensor
    variance: Tensor

    @property
    def std(self) -> float:
        """The channel std of the paper's fig. 1b, its mean over the channels."""
        return float(self.variance.sqrt().mean())

    @property
    def stripe_index(self) -> float:
        """η² = Var_c(v̄) / Var(v), as `stripe.analysis.stripe_index`; NaN where v does not vary at all."""
        between, within = float(self.mean.var(correction=0)), float(self.variance.mean())
        return between / (between + within) if between + within > 0 else float("nan")


def calibrate(model: nn.Module, sites: Sequence[Site], batches: Sample) -> dict[str, Calibration]:
    """One pass over the images.

    Args:
        model: Any network.
        sites: Sites of the network, from `stripe.capture.discover`.
        batches: The calibration images.

    Returns:
        Name of the site → mean and variance of its attention.

    Raises:
        StripeError: An attention value is no finite number, its shape changes with the batch, or the forward pass is
            not the one of discovery.
    """
    count, mean, squares = 0, torch.zeros(()), torch.zeros(())
    recorder = Recorder(model, sites, record_input=False, dtype=torch.float64)
    with evaluating(model), torch.no_grad(), recorder:
        for batch, _ in track(batches, "calibrating", total=len(batches)):
            run(model, batch)
            values = recorder.take_packed().cpu()
            if count and values.shape[1] != len(mean):
                raise StripeError(
                    f"the {batches.what} have different sizes, and so has the attention at some sites; "
                    "scale them to one"
                )
            own = values.mean(0)
            new = count + len(values)
            # Chan et al.: no difference of large squares
            difference = own - mean
            squares = squares + (values - own).square().sum(0) + difference.square() * (count * len(values) / new)
            mean, count = mean + difference * (len(values) / new), new
        if not mean.isfinite().all():
            raise StripeError("an attention value is no finite number; the weights may be damaged")
        means, variances = recorder.unpack(mean[None]), recorder.unpack((squares / count)[None])
    return {site.name: Calibration(means[site.name].attention[0], variances[site.name].attention[0]) for site in sites}


def calibrate_in_turn(original: nn.Module, places: Sequence[Foldable], images: Sample) -> dict[str, Tensor]:
    """Means from the first site to the last, each with those before it constant.

    Args:
        original: The network, not changed.
        places: The sites, in the order of the forward pass.
        images: The calibration images, gone through once per site.

    Returns:
        Name of the site → v̄, (C,).

    Raises:
        StripeError: A site is there no more once those before it are constant.
    """
    model = copy_model(original)
    values: dict[str, Tensor] = {}
    for place in places:
        # Found anew: a module that was replaced no longer multiplies as often as it did.
        inside = set(model.get_submodule(place.module).modules())
        now = [
            replace(site, name=place.site.name)
            for site in discover(model, images.first().first(2).inputs)
            if model.get_submodule(site.module) in inside and site.is_attention and site.shape == place.site.shape
        ]
        # Of a module that is called again behind, this call is the first that is left.
        now = [site for site in now if site.call == now[0].call]
        if not now:
            raise StripeError(f"{place.site.name} is gone once the sites before it are constant; leave sequential away")
        # The last product is the one that leaves the module; the gate itself may be computed with others.
        values |= {name: found.mean for name, found in calibrate(model, now[-1:], images).items()}
        put_gates(model, [place], values)
    return values
