"""What a constant in the place of attention would be off: in the gate, and in what the next layer sees."""

import numpy as np
import xarray as xr

from stripe.analysis.dims import Values, feature_dims, labelled, require

__all__ = ["constant_error", "output_error", "stripes_carry"]


def constant_error(attention: Values) -> xr.DataArray:
    r"""How far attention is from its mean over the images, relative to its own size.

    .. math:: \sqrt{\frac{N}{N-1}}\ \frac{\mathrm{RMS}_{i,c}(v_{ic} - \bar v_c)}{\mathrm{RMS}_{i,c}(v_{ic})}

    The mean of N images is nearer to those images than to others; the first factor makes up for it.

    Args:
        attention: Attention values with the dimension ``image``, perhaps ``epoch``, and those of one image's values.

    Returns:
        ``(epoch,)`` if there are epochs, otherwise a single number, float64; 0.05 is 5 %. 0 where attention is 0
        throughout, NaN where there is one image or a value is NaN or infinite. Lazy if ``attention`` is.

    Raises:
        StripeError: There is no dimension ``image``.

    Example:
        >>> import xarray as xr
        >>> from stripe.analysis import constant_error
        >>> v = xr.DataArray([[3.0, 5.0], [5.0, 5.0], [4.0, 5.0]], dims=("image", "channel"))
        >>> round(float(constant_error(v)) ** 2, 4)  # of variances 1 and 0 and squares 50 / 3 and 25
        0.024
    """
    attention = labelled(attention)
    require(attention, ["image"], "The error of a constant")
    ones = xr.ones_like(attention, dtype="float64")
    error = _relative(attention, ones, attention.mean("image", dtype="float64", skipna=False), corrected=True)
    nothing = (attention.astype("float64") ** 2).max(["image", *feature_dims(attention)], skipna=False) == 0
    return error.where(~nothing | (attention.sizes["image"] < 2), 0.0).rename("constant_error")


def output_error(attention: Values, input_rms: Values, residual: bool = False) -> xr.DataArray:
    r"""How far the output x ⊙ v moves where attention is replaced by its mean over the images, relative to its size.

    .. math:: \sqrt{\frac{N}{N-1}}\ \frac{\lVert x \odot (v - \bar v)\rVert}{\lVert x \odot v\rVert}

    with norms over images, channels and positions. A gate that varies where the map is small costs little, and one
    that varies where the map is large costs much: this is what the next layer sees, and ``constant_error`` does not.

    Args:
        attention: Attention values with the dimension ``image``, perhaps ``epoch``, and those of one image's values.
        input_rms: Of the shape of ``attention``: the root mean square of the map over the axes that the gate
            broadcasts over, over positions for a channel gate and over channels for a spatial one.
        residual: Whether the product is added to the map, x + x ⊙ v: then 1 + v takes the place of v.

    Returns:
        ``(epoch,)`` if there are epochs, otherwise a single number, float64; 0.05 is 5 %. NaN where the output is 0
        throughout, there is one image, or a value is NaN or infinite. Lazy if ``attention`` is.

    Raises:
        StripeError: There is no dimension ``image``.
    """
    attention, input_rms = labelled(attention), labelled(input_rms)
    require(attention, ["image"], "The output error")
    require(input_rms, ["image"], "The output error")
    gate = attention.astype("float64") + float(residual)
    mean = gate.mean("image", skipna=False)
    return _relative(gate, input_rms.astype("float64") ** 2, mean, corrected=True).rename("output_error")


def stripes_carry(attention: Values, input_rms: Values | None = None, residual: bool = False) -> xr.Dataset:
    """Whether the vector of constants matters: its error beside that of one constant for the whole site.

    Where the two are alike any single number would do as well as the stripes; where the vector's error is much the
    smaller one, the stripes carry the function.

    Args:
        attention: As for ``output_error``.
        input_rms: As for ``output_error``; None compares the gates instead of the outputs.
        residual: As for ``output_error``.

    Returns:
        ``vector``, the error where attention is replaced by its mean over the images (``output_error``, or
        ``constant_error`` where there is no ``input_rms``), and ``scalar``, the error where it is replaced by its mean
        over images and channels.

    Raises:
        StripeError: There is no dimension ``image``.
    """
    attention = labelled(attention)
    input_rms = None if input_rms is None else labelled(input_rms)
    require(attention, ["image"], "The errors of constants")
    if input_rms is None:
        vector, gate, weight = constant_error(attention), attention, xr.ones_like(attention, dtype="float64")
    else:
        vector = output_error(attention, input_rms, residual)
        gate, weight = attention.astype("float64") + float(residual), input_rms.astype("float64") ** 2
    mean = gate.mean(["image", *feature_dims(gate)], dtype="float64", skipna=False)
    scalar = _relative(gate, weight, mean, corrected=False)
    return xr.Dataset({"vector": vector.rename(None), "scalar": scalar})


def _relative(gate: xr.DataArray, weight: xr.DataArray, constant: xr.DataArray, corrected: bool) -> xr.DataArray:
    """Root of the weighted mean square of what a constant is off, over that of the gate."""
    gate = gate.astype("float64")
    gate = gate.where(np.isfinite(gate))
    over, images = ["image", *feature_dims(gate)], gate.sizes["image"]
    off = (weight * (gate - constant) ** 2).sum(over, skipna=False)
    size = (weight * gate**2).sum(over, skipna=False)
    factor = images / (images - 1 or np.nan) if corrected else 1.0
    return (factor * off / size.where(size > 0)) ** 0.5
