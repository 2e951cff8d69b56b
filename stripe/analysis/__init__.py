"""How constant is attention? Labelled arrays in (xarray), labelled arrays or tidy tables out.

The functions on one array (`channel_std`, `stripe_index`, `epoch_diff`, `settling_epoch`, `map_correlation` …) are
definitions in a few lines of xarray; they stay lazy on dask-backed arrays. `metrics` measures a whole capture in one
pass over the file, `verdicts` says in a sentence a site what the numbers mean.
"""

from stripe.analysis.center_bias import CenterBias, center_bias
from stripe.analysis.channel_std import channel_std
from stripe.analysis.epoch_diff import epoch_diff, settled_fraction, settling_epoch
from stripe.analysis.metrics import metrics
from stripe.analysis.spatial import map_correlation, spatial_std
from stripe.analysis.stripe_index import stripe_index
from stripe.analysis.table import save_table
from stripe.analysis.verdict import verdicts

__all__ = [
    "CenterBias",
    "center_bias",
    "channel_std",
    "epoch_diff",
    "map_correlation",
    "metrics",
    "save_table",
    "settled_fraction",
    "settling_epoch",
    "spatial_std",
    "stripe_index",
    "verdicts",
]
