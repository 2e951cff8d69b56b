import numpy as np
import torch
from torch import nn

from stripe.training import Compute

CPU = Compute.on(torch.device("cpu"))


def test_a_cpu_computes_in_float32():
    assert CPU.dtype == torch.float32
    with CPU.autocast():
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == torch.float32


def test_autocast_computes_in_the_asked_precision():
    with Compute.on(torch.device("cpu"), "bfloat16").autocast():
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == torch.bfloat16


def test_weights_and_images_are_channels_last(tiny_data):
    model = CPU.place(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(4, 4)))
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    images, _ = next(iter(tiny_data.test.loader(4)))
    assert CPU.input(tiny_data, images).is_contiguous(memory_format=torch.channels_last)


def test_the_input_is_normalised(tiny_data):
    images, _ = next(iter(tiny_data.test.loader(4)))
    mean, std = (np.reshape(values, (1, 3, 1, 1)) for values in (tiny_data.mean, tiny_data.std))
    expected = (images.numpy() / 255 - mean) / std
    np.testing.assert_allclose(CPU.input(tiny_data, images).numpy(), expected, atol=1e-6)
