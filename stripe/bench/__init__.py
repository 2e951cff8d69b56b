"""Speed and size: what attention costs, and what is left of that after fusing (paper, table 1 and figure 3).

Example:
    >>> from stripe.bench import measure
    >>> table = measure(["resnet164", "resnet164+se", "resnet164+asr(se)+fused"], batch_size=128)  # doctest: +SKIP
    >>> table[["model", "parameters", "images_per_second", "relative_speed"]]  # doctest: +SKIP
"""

from stripe.bench.accuracy import add_accuracy
from stripe.bench.machine import describe_machine
from stripe.bench.measuring import measure
from stripe.bench.table import read_table
from stripe.bench.variant import Variant

__all__ = ["Variant", "add_accuracy", "describe_machine", "measure", "read_table"]
