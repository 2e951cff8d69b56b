"""Arrays as text: quantised, so that a page can hold millions of values."""

import base64
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Encoded", "encode"]

Encoded = dict[str, Any]


def encode(values: npt.ArrayLike, bits: Literal[8, 16] = 16) -> Encoded:
    r"""Quantise an array, every slice along its first axis over its own range, and write it as base64.

    A slice, such as an epoch, is written as codes q from 0 to Q, with Q = 254 (8 bits) or 65,534 (16 bits):

    .. math:: v = low + (high - low)\, q / Q

    so that a value is off by at most (high − low) / 2Q, where low and high are the slice's own. The code Q + 1 stands
    for values that are NaN or infinite.

    Args:
        values: An array of at least one axis.
        bits: The size of a code.

    Returns:
        A dictionary ready for JSON: ``shape``; ``bits``; ``low`` and ``high``, one number per slice; ``codes``, base64
        of the codes as little-endian bytes, the last axis the fastest.

    Example:
        >>> encode([[0.0, 0.5, 1.0]], bits=8)
        {'shape': [1, 3], 'bits': 8, 'low': [0.0], 'high': [1.0], 'codes': 'AH/+'}
    """
    array = np.asarray(values, np.float64)
    slices = array.reshape(len(array), -1)
    finite = np.isfinite(slices)
    low = np.where(finite, slices, np.inf).min(axis=1, initial=np.inf)
    high = np.where(finite, slices, -np.inf).max(axis=1, initial=-np.inf)
    low, high = (np.where(np.isfinite(ends), ends, 0.0) for ends in (low, high))  # a slice without a value
    top = 2**bits - 2
    span = np.where(high > low, high - low, 1.0)
    scaled = (np.where(finite, slices, 0.0) - low[:, None]) / span[:, None] * top
    codes = np.where(finite, np.rint(scaled), top + 1).astype(f"<u{bits // 8}")
    return {
        "shape": list(array.shape),
        "bits": bits,
        "low": low.tolist(),
        "high": high.tolist(),
        "codes": base64.b64encode(codes.tobytes()).decode(),
    }
