"""Copies of groups, such as Grad-CAM maps, into a capture file that is made anew."""

import h5py

from stripe.capture.layout import NOT_A_VARIABLE, add_dimension, add_scale, add_variable

__all__ = ["carry_over"]


def carry_over(source: h5py.Group, target: h5py.Group) -> None:
    """Copy a group into another file, and bind its variables to the axes of that file.

    HDF5's own copy would leave references to axes that only the old file has.

    Args:
        source: The group to copy.
        target: An empty group. Its parents must have the axes that ``source`` takes from its own parents.
    """
    target.attrs.update(source.attrs)
    datasets = {name: item for name, item in source.items() if isinstance(item, h5py.Dataset)}
    for name, item in datasets.items():
        if item.is_scale and h5py.h5ds.get_scale_name(item.id).decode().startswith(NOT_A_VARIABLE):
            add_dimension(target, name, item.size)
        elif item.is_scale:
            add_scale(target, name, item[:])
    for name, item in datasets.items():
        if not item.is_scale:
            scales = [_axis(target, dim[0].name.rsplit("/", 1)[-1]) for dim in item.dims]
            copy = add_variable(target, name, scales, item.dtype)
            for start in range(len(item)):  # row by row: all maps of all images may outgrow memory
                copy[start] = item[start]
    for name in source.keys() - datasets.keys():
        carry_over(source[name], target.create_group(name))


def _axis(group: h5py.Group, name: str) -> h5py.Dataset:
    """The axis of the given name in the group or in the nearest group above it."""
    while name not in group:
        group = group.parent
    return group[name]
