"""How constant is attention? Labelled arrays in (xarray), labelled arrays or tidy tables out.

The functions on one array (``channel_std``, ``stripe_index``, ``variance_shares``, ``output_error``, ``epoch_diff``,
``settling_epoch`` …) are definitions in a few lines of xarray; they stay lazy on dask-backed arrays. They take torch
tensors and NumPy arrays, too, whose first axis is the images (of ``epoch_diff`` and its kin the epochs, then the
images). ``metrics`` measures every epoch of a capture in one pass over the file, ``evidence`` one epoch with bootstrap
intervals, and ``verdicts`` says in a sentence for each site what the numbers mean.
"""

from stripe.analysis.center_bias import CenterBias, center_bias
from stripe.analysis.channel_std import channel_std
from stripe.analysis.comparison import control_evidence
from stripe.analysis.constant_error import constant_error, output_error, stripes_carry
from stripe.analysis.epoch_diff import epoch_diff, settled_fraction, settling_epoch
from stripe.analysis.evidence import evidence
from stripe.analysis.mean_interval import MeanInterval, mean_interval
from stripe.analysis.metrics import metrics
from stripe.analysis.networks import compare, overview
from stripe.analysis.spatial import map_correlation, spatial_std
from stripe.analysis.stripe_index import stripe_index
from stripe.analysis.table import save_table
from stripe.analysis.variance import class_share, variance_components, variance_shares
from stripe.analysis.verdict import verdicts

__all__ = [
    "CenterBias",
    "MeanInterval",
    "center_bias",
    "channel_std",
    "class_share",
    "compare",
    "constant_error",
    "control_evidence",
    "epoch_diff",
    "evidence",
    "map_correlation",
    "mean_interval",
    "metrics",
    "output_error",
    "overview",
    "save_table",
    "settled_fraction",
    "settling_epoch",
    "spatial_std",
    "stripe_index",
    "stripes_carry",
    "variance_components",
    "variance_shares",
    "verdicts",
]
