"""Small networks, each another way to write attention, or something that looks like it.

An entry says what discovery has to find: the kinds of the sites that are attention, in their order, and, after a bar,
what else is listed as ``kind`` (depends on the image) or ``=kind`` (a constant factor).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

C = 6


@dataclass(frozen=True)
class Case:
    name: str
    forward: Callable[["Net", Tensor], Any]
    attention: str
    shape: tuple[int, ...] = (2, 3, 10, 12)
    others: str = ""

    def model(self) -> "Net":
        torch.manual_seed(0)
        return Net(self.forward).eval()

    def sample(self) -> Tensor:
        return torch.rand(*self.shape, generator=torch.Generator().manual_seed(1))


class Net(nn.Module):
    """Layers to take from, and a forward pass that takes some of them."""

    def __init__(self, forward: Callable[["Net", Tensor], Any]) -> None:
        super().__init__()
        self.way = forward
        self.conv = nn.Conv2d(3, C, 3, padding=1)
        self.conv1 = nn.Conv1d(3, C, 3, padding=1)
        self.conv3 = nn.Conv3d(3, C, 3, padding=1)
        self.more = nn.Conv2d(C, C, 1)
        self.one = nn.Conv2d(C, 1, 3, padding=1)
        self.fc = nn.Linear(C, C)
        self.to_one = nn.Linear(C, 1)
        self.embed = nn.Linear(3, C)
        self.twice = nn.Linear(C, 2 * C)
        self.eca = nn.Conv1d(1, 1, 3, padding=1)
        self.scale = nn.Parameter(torch.rand(C))
        self.alpha = nn.Parameter(torch.tensor(0.5))
        self.register_buffer("std", torch.rand(1, 3, 1, 1) + 0.5)
        self.register_buffer("kept", torch.zeros(8, C))

    def forward(self, x: Tensor) -> Any:
        return self.way(self, x)

    def vector(self, x: Tensor) -> Tensor:
        """(N, C), squeezed from a map (N, C, …)."""
        return torch.sigmoid(self.fc(x.flatten(2).mean(2)))


def shaped(v: Tensor, x: Tensor) -> Tensor:
    return v.reshape(*v.shape, *[1] * (x.ndim - v.ndim))


def maps(net: Net, x: Tensor) -> tuple[Tensor, Tensor]:
    """A map (N, C, H, W), and a gate (N, C, 1, 1) of it."""
    x = torch.relu(net.conv(x))
    return x, shaped(net.vector(x), x)


CASES: list[Case] = []


def case(
    attention: str, *, others: str = "", shape: tuple[int, ...] = (2, 3, 10, 12)
) -> Callable[[Callable[[Net, Tensor], Any]], Callable[[Net, Tensor], Any]]:
    def add(forward: Callable[[Net, Tensor], Any]) -> Callable[[Net, Tensor], Any]:
        CASES.append(Case(forward.__name__, forward, attention, shape, others))
        return forward

    return add


# --- ways to multiply


@case("channel")
def star(net, x):
    x, v = maps(net, x)
    return x * v


@case("channel")
def gate_first(net, x):
    x, v = maps(net, x)
    return v * x


@case("channel")
def in_place(net, x):
    x, v = maps(net, x)
    x = x.clone()
    x *= v
    return x


@case("channel")
def mul_method_in_place(net, x):
    x, v = maps(net, x)
    return x.clone().mul_(v)


@case("channel")
def into_a_slice(net, x):
    x, v = maps(net, x)
    y = torch.empty_like(x)
    y[:] = x * v
    return y


@case("channel")
def out_argument(net, x):
    x, v = maps(net, x)
    with torch.no_grad():
        return torch.mul(x.detach(), v.detach(), out=torch.empty_like(x))


@case("channel")
def residual_gate(net, x):
    x, v = maps(net, x)
    return x + x * v


@case("channel")
def addcmul(net, x):
    x, v = maps(net, x)
    return torch.addcmul(x, x, v)


@case("channel")
def addcdiv(net, x):
    x = net.conv(x)
    d = 1 + torch.exp(-net.fc(x.mean((2, 3))))[:, :, None, None]
    return torch.addcdiv(x, x, d)


@case("channel")
def division(net, x):
    x = net.conv(x)
    return x / (1 + torch.exp(-net.fc(x.mean((2, 3))))[:, :, None, None])


@case("channel")
def division_in_place(net, x):
    x = net.conv(x)
    x = x.clone()
    x /= 1 + torch.exp(-net.fc(x.mean((2, 3))))[:, :, None, None]
    return x


@case("channel")
def lerp(net, x):
    x, v = maps(net, x)
    return torch.lerp(torch.zeros_like(x), x, v)


@case("channel")
def highway(net, x):
    x, v = maps(net, x)
    return torch.lerp(x, net.more(x), v)


@case("channel channel")
def highway_by_hand(net, x):
    x, v = maps(net, x)
    return x * v + net.more(x) * (1 - v)


@case("channel")
def einsum(net, x):
    x, v = maps(net, x)
    return torch.einsum("nchw,nc->nchw", x, v[:, :, 0, 0])


@case("spatial")
def einsum_other_order(net, x):
    x = net.conv(x)
    return torch.einsum("nyx,ncyx->ncyx", torch.sigmoid(net.one(x))[:, 0], x)


@case("channel")
def sigmoid_by_hand(net, x):
    x = net.conv(x)
    return x * (1 / (1 + torch.exp(-net.fc(x.mean((2, 3))))))[:, :, None, None]


@case("channel")
def sigmoid_by_reciprocal(net, x):
    x = net.conv(x)
    return x * (1 + torch.exp(-net.fc(x.mean((2, 3))))).reciprocal()[:, :, None, None]


@case("channel")
def exponential_gate(net, x):
    x = net.conv(x)
    return x * torch.exp(-F.softplus(net.fc(x.mean((2, 3)))))[:, :, None, None]


@case("channel")
def double_precision_gate(net, x):
    x, v = maps(net, x)
    return (x.double() * v.double()).float()


@case("channel")
def autocast_inside(net, x):
    with torch.autocast("cpu", torch.bfloat16):
        x, v = maps(net, x)
        return (x * v).float()


# --- gates that were copied to the size of the map


@case("channel")
def expand_as(net, x):
    x, v = maps(net, x)
    return x * v.expand_as(x)


@case("channel")
def expanded_and_copied(net, x):
    x, v = maps(net, x)
    return x * v.expand_as(x).contiguous()


@case("channel")
def repeat(net, x):
    x, v = maps(net, x)
    return x * v.repeat(1, 1, *x.shape[2:])


@case("channel")
def interpolate(net, x):
    x, v = maps(net, x)
    return x * F.interpolate(v, x.shape[2:])


@case("channel")
def ones_times_gate(net, x):
    x, v = maps(net, x)
    return x * (torch.ones_like(x) * v)


@case("spatial")
def repeated_over_channels(net, x):
    x = net.conv(x)
    return x * torch.sigmoid(net.one(x)).repeat(1, C, 1, 1)


@case("spatial")
def broadcast_to(net, x):
    x = net.conv(x)
    return x * torch.sigmoid(net.one(x)).broadcast_to(x.shape).clone()


@case("channel")
def sigmoid_after_repeat(net, x):
    x = net.conv(x)
    return x * torch.sigmoid(net.fc(x.mean((2, 3)))[:, :, None, None].repeat(1, 1, *x.shape[2:]))


# --- gates whose dependence autograd does not see


@case("channel")
def hard(net, x):
    x, v = maps(net, x)
    return x * (v > 0.5).float()


@case("channel")
def boolean(net, x):
    x, v = maps(net, x)
    return x * (v > 0.5)


@case("channel")
def where(net, x):
    x, v = maps(net, x)
    return torch.where(v > 0.5, x, 0.0)


@case("channel")
def where_method(net, x):
    x, v = maps(net, x)
    return x.where(v > 0.5, torch.zeros_like(x))


@case("channel")
def masked_fill(net, x):
    x, v = maps(net, x)
    return x.masked_fill(v < 0.5, 0)


@case("channel")
def masked_fill_in_place(net, x):
    x, v = maps(net, x)
    return x.clone().masked_fill_(v < 0.5, 0.0)


@case("channel")
def detached(net, x):
    x, v = maps(net, x)
    return x * v.detach()


@case("channel")
def under_no_grad(net, x):
    with torch.no_grad():
        x, v = maps(net, x)
        return x * v


@case("channel")
def gate_under_no_grad(net, x):
    x = net.conv(x)
    with torch.no_grad():
        v = shaped(net.vector(x), x)
    return x * v


@case("channel")
def under_inference_mode(net, x):
    with torch.inference_mode():
        x, v = maps(net, x)
        return x * v


@case("channel")
def top_k(net, x):
    x, v = maps(net, x)
    flat = v[:, :, 0, 0]
    chosen = torch.zeros_like(flat).scatter_(1, flat.topk(2, 1).indices, 1.0)
    return x * chosen[:, :, None, None]


@case("channel")
def one_hot(net, x):
    x, v = maps(net, x)
    return x * F.one_hot(v[:, :, 0, 0].argmax(1), C).float()[:, :, None, None]


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: Tensor) -> Tensor:
        return (v > 0.5).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


@case("channel")
def straight_through(net, x):
    x, v = maps(net, x)
    return x * StraightThrough.apply(v)


@case("channel")
def rounded(net, x):
    x, v = maps(net, x)
    return x * torch.round(4 * v) / 4


@case("channel")
def checkpointed(net, x):
    def part(x: Tensor) -> Tensor:
        x, v = maps(net, x)
        return x * v

    return checkpoint(part, x, use_reentrant=False)


@case("channel")
def kept_in_a_buffer(net, x):
    x, v = maps(net, x)
    net.kept[: len(x)] = v[:, :, 0, 0]
    return x * net.kept[: len(x), :, None, None]


@case("channel")
def list_lookup(net, x):
    x, v = maps(net, x)
    return x * torch.stack([v[i] for i in range(len(v))])


# --- layouts


@case("channel")
def flattened_positions(net, x):
    x, v = maps(net, x)
    return x.flatten(2) * v.flatten(2)


@case("spatial")
def flattened_positions_spatial(net, x):
    x = net.conv(x)
    return x.flatten(2) * torch.sigmoid(net.one(x)).flatten(2)


@case("channel")
def tokens(net, x):
    x = net.conv(x).flatten(2).transpose(1, 2)
    return x * torch.sigmoid(net.fc(x.mean(1, keepdim=True)))


@case("spatial")
def tokens_spatial(net, x):
    x = net.conv(x).flatten(2).transpose(1, 2)
    return x * torch.sigmoid(net.to_one(x))


@case("channel")
def channels_last_code(net, x):
    x = net.conv(x).permute(0, 2, 3, 1)
    return x * torch.sigmoid(net.fc(x.mean((1, 2), keepdim=True)))


@case("spatial")
def channels_last_code_spatial(net, x):
    x = net.conv(x).permute(0, 2, 3, 1)
    return x * torch.sigmoid(net.to_one(x))


@case("spatial", shape=(2, 3, 10, 6))
def channels_last_width_as_wide_as_channels(net, x):
    x = net.conv(x).permute(0, 2, 3, 1)
    return x * torch.sigmoid(net.to_one(x))


@case("channel")
def channels_last_by_linear(net, x):
    x = net.embed(x.permute(0, 2, 3, 1))
    return x * torch.sigmoid(net.fc(x.mean((1, 2), keepdim=True)))


@case("channel")
def sequence_first(net, x):
    x = net.conv(x).flatten(2).permute(2, 0, 1)
    return x * torch.sigmoid(net.fc(x.mean(0, keepdim=True)))


@case("channel")
def groups(net, x):
    x, v = maps(net, x)
    return x.unflatten(1, (2, C // 2)) * v.unflatten(1, (2, C // 2))


@case("channel", others="=sample")
def one_gate_a_group(net, x):
    x = net.conv(x).unflatten(1, (2, C // 2))
    return x * torch.sigmoid(x.mean((2, 3, 4), keepdim=True) * net.alpha)


@case("channel", others="=sample")
def groups_in_the_batch(net, x):
    x = net.conv(x)
    y = x.reshape(len(x) * 2, C // 2, *x.shape[2:])
    return y * torch.sigmoid(y.mean((2, 3), keepdim=True) * net.alpha)


@case("channel", shape=(2, 4, 3, 10, 12))
def frames_in_the_batch(net, x):
    y = net.conv(x.flatten(0, 1))
    return y * shaped(net.vector(y), y)


@case("channel", shape=(2, 3, 4, 10, 12))
def video(net, x):
    x = net.conv3(x)
    return x * shaped(net.vector(x), x)


@case("spatial", shape=(2, 3, 4, 10, 12))
def video_spatial(net, x):
    x = net.conv3(x)
    return x * torch.sigmoid(x.mean(1, keepdim=True))


@case("strip", shape=(2, 3, 4, 10, 12))
def video_temporal(net, x):
    x = net.conv3(x)
    return x * torch.sigmoid(x.mean((1, 3, 4), keepdim=True))


@case("channel", shape=(2, 3, 16))
def signal(net, x):
    x = net.conv1(x)
    return x * net.vector(x)[:, :, None]


@case("spatial", shape=(2, 3, 16))
def signal_spatial(net, x):
    x = net.conv1(x)
    return x * torch.sigmoid(x.mean(1, keepdim=True))


@case("channel")
def channels_last_memory(net, x):
    x, v = maps(net, x.contiguous(memory_format=torch.channels_last))
    return x * v


@case("spatial")
def a_map_for_each_head(net, x):
    x = net.conv(x).unflatten(1, (2, C // 2))
    return x * torch.sigmoid(x.mean(2, keepdim=True))


@case("spatial")
def a_map_for_each_head_channels_last(net, x):
    x = net.conv(x).permute(0, 2, 3, 1).unflatten(3, (2, C // 2))
    return x * torch.sigmoid(x.mean(4, keepdim=True))


@case("spatial")
def a_map_for_each_head_in_the_batch(net, x):
    x = net.conv(x)
    y = x.reshape(len(x) * 2, C // 2, *x.shape[2:])
    return y * torch.sigmoid(y.mean(1, keepdim=True))


@case("spatial")
def a_weight_for_each_token_and_head(net, x):
    x = net.fc(net.conv(x).flatten(2).transpose(1, 2)).unflatten(2, (2, C // 2)).transpose(1, 2)
    return x * torch.sigmoid(x.mean(3, keepdim=True))


@case("strip strip")
def coordinate(net, x):
    x = net.conv(x)
    return x * torch.sigmoid(net.more(x.mean(3, keepdim=True))) * torch.sigmoid(net.more(x.mean(2, keepdim=True)))


@case("branch")
def selective_kernel(net, x):
    x = torch.stack([net.conv(x), 2 * net.conv(x)], 1)
    v = net.twice(x.sum(1).mean((2, 3))).view(-1, 2, C).softmax(1)
    return (x * v[..., None, None]).sum(1)


@case("branch")
def split_attention(net, x):
    x = net.conv(x).view(len(x), 2, C // 2, *x.shape[2:])
    v = net.fc(x.flatten(1, 2).mean((2, 3))).view(-1, 2, C // 2).softmax(1)
    return (x * v[..., None, None]).sum(1)


@case("sample")
def one_gate_an_image(net, x):
    x = net.conv(x)
    return x * torch.sigmoid(net.to_one(x.mean((2, 3))))[:, :, None, None]


@case("sample sample")
def mixture_of_experts(net, x):
    x = net.conv(x)
    w = net.fc(x.mean((2, 3)))[:, :2].softmax(1)
    return net.more(x) * w[:, 0, None, None, None] + x * w[:, 1, None, None, None]


@case("sample")
def one_gate_an_image_of_tokens(net, x):
    x = net.conv(x).flatten(2).transpose(1, 2)
    return x * torch.sigmoid(net.to_one(x.mean(1)))[:, :, None]


@case("channel")
def eca(net, x):
    x = net.conv(x)
    v = net.eca(x.mean((2, 3))[:, None]).transpose(1, 2)[..., None]
    return x * torch.sigmoid(v).expand_as(x)


@case("channel spatial")
def cbam(net, x):
    x, v = maps(net, x)
    x = x * v
    return x * torch.sigmoid(net.one(x))


@case("channel spatial")
def scse(net, x):
    x, v = maps(net, x)
    return x * v + x * torch.sigmoid(net.one(x))


@case("channel")
def gate_of_another_map(net, x):
    y = net.embed(x.mean((2, 3))).sigmoid()[:, :, None, None]
    return net.conv(x) * y


@case("channel")
def gate_of_batch_statistics(net, x):
    x = net.conv(x)
    return x * torch.sigmoid(net.fc(x.mean((0, 2, 3))))[None, :, None, None]


@case("channel")
def without_parameters(net, x):
    x = net.conv(x)
    return x * torch.sigmoid(x.mean((2, 3), keepdim=True))


@case("spatial")
def parameter_free_similarity(net, x):
    x = net.conv(x)
    k = x.mean((2, 3), keepdim=True)
    return x * (1 - torch.sigmoid(F.cosine_similarity(x, k, dim=1)))[:, None]


@case("channel", others="normalization =channel")
def global_response_norm(net, x):
    x = net.conv(x).permute(0, 2, 3, 1)
    g = x.norm(p=2, dim=(1, 2), keepdim=True)
    return x + net.scale * (x * (g / (g.mean(-1, keepdim=True) + 1e-6)))


@case("channel")
def style_recalibration(net, x):
    x = net.conv(x)
    z = net.scale * x.mean((2, 3)) + net.scale * x.std((2, 3))
    return x * torch.sigmoid(net.fc(z))[:, :, None, None]


@case("spatial")
def attention_pooling(net, x):
    x = net.conv(x).flatten(2).transpose(1, 2)
    return (x * net.to_one(x).softmax(1)).sum(1)


# --- more of the same


@case("channel")
def keyword_arguments(net, x):
    x, v = maps(net, x)
    return torch.multiply(input=x, other=v)


@case("channel", shape=(1, 3, 10, 12))
def a_single_image(net, x):
    x, v = maps(net, x)
    return x * v


@case("channel channel")
def one_module_twice(net, x):
    x, v = maps(net, x)
    return (x * v) * shaped(net.vector(x), x)


@case("channel")
def vector_as_tokens(net, x):
    x = net.conv(x)
    v = net.fc(x.mean((2, 3))).sigmoid()
    return (x.flatten(2).transpose(1, 2) * v.unsqueeze(1)).transpose(1, 2).unflatten(2, x.shape[2:])


@case("channel")
def windows_in_the_batch(net, x):
    x = net.conv(x).permute(0, 2, 3, 1)
    x = x.reshape(len(x), 2, 5, 2, 6, C).transpose(2, 3).reshape(-1, 30, C)
    return x * torch.sigmoid(net.fc(x.mean(1, keepdim=True)))


@case("channel")
def one_gate_a_head(net, x):
    x = net.conv(x).flatten(2).transpose(1, 2).unflatten(2, (2, 3)).transpose(1, 2)
    return x * torch.sigmoid(x.mean((2, 3), keepdim=True))


@case("channel")
def temperature(net, x):
    x = net.conv(x)
    return x / (1 + F.softplus(net.fc(x.mean((2, 3)))))[:, :, None, None]


@case("channel")
def film(net, x):
    x = net.conv(x)
    gamma, beta = net.twice(x.mean((2, 3))).chunk(2, 1)
    return x * gamma[:, :, None, None] + beta[:, :, None, None]


@case("spatial")
def low_resolution_map(net, x):
    x = net.conv(x)
    return x * F.interpolate(torch.sigmoid(net.one(F.avg_pool2d(x, 2))), x.shape[2:], mode="bilinear")


@case("spatial")
def mean_and_maximum(net, x):
    x = net.conv(x)
    pooled = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
    return x * torch.sigmoid(F.conv2d(pooled, net.one.weight[:, :2], padding=1))


@case("channel")
def channels_put_together(net, x):
    x = torch.cat([net.conv(x), net.conv(x.flip(3))], 1)
    v = torch.cat([net.vector(x[:, :C]), net.vector(x[:, C:])], 1)
    return x * v[:, :, None, None]


@case("channel")
def channel_shuffle(net, x):
    x = net.conv(x).unflatten(1, (2, 3)).transpose(1, 2).flatten(1, 2)
    return x * shaped(net.vector(x), x)


@case("channel")
def dictionary_of_outputs(net, x):
    x, v = maps(net, x)
    return {"out": x * v, "aux": [x]}


@case("channel")
def input_changed_in_place(net, x):
    x -= 0.5
    x, v = maps(net, x)
    return x * v


@case("channel")
def loop_over_images(net, x):
    x, _ = maps(net, x)
    return x * torch.cat([net.vector(x[i : i + 1]) for i in range(len(x))])[:, :, None, None]


@case("channel")
def written_in_parts(net, x):
    x, v = maps(net, x)
    g = torch.zeros(len(x), C)
    g[:, :3] = v[:, :3, 0, 0]
    g[:, 3:] = v[:, 3:, 0, 0]
    return x * g[:, :, None, None]


@case("channel")
def written_image_by_image(net, x):
    x, v = maps(net, x)
    g = x.new_zeros(len(x), C)
    for i in range(len(x)):
        g[i] = v[i, :, 0, 0]
    return x * g[:, :, None, None]


@case("spatial")
def written_into_a_frame(net, x):
    x = net.conv(x)
    g = torch.zeros(len(x), 1, *x.shape[2:])
    g[:, :, 2:8, 2:10] = torch.sigmoid(net.one(x))[:, :, 2:8, 2:10]
    return x * g


@case("channel")
def einsum_with_dots(net, x):
    x, v = maps(net, x)
    return torch.einsum("bc...,bc->bc...", x, v[:, :, 0, 0])


# --- what looks like it


@case("", others="=channel")
def layer_scale(net, x):
    return net.conv(x) * net.scale[:, None, None]


@case("", others="=sample")
def rezero(net, x):
    return net.alpha * net.conv(x)


@case("", others="=channel")
def input_normalisation(net, x):
    return net.conv(x * net.std)


@case("")
def input_normalisation_by_division(net, x):
    return net.conv((x - 0.5) / net.std)


@case("")
def swish(net, x):
    x = net.conv(x)
    return x * x.sigmoid()


@case("")
def swish_of_a_pixel(net, x):
    x = net.conv(x).mean((2, 3), keepdim=True)
    return x * x.sigmoid()


@case("")
def gated_linear_unit(net, x):
    a, b = net.conv(x).chunk(2, 1)
    return a * b.sigmoid()


@case("")
def gated_linear_unit_of_tokens(net, x):
    a, b = net.twice(net.conv(x).flatten(2).transpose(1, 2)).chunk(2, -1)
    return a * F.gelu(b)


@case("", others="normalization =channel")
def layer_norm(net, x):
    x = net.conv(x)
    mean, var = x.mean(1, keepdim=True), x.var(1, keepdim=True)
    return net.scale[:, None, None] * ((x - mean) * torch.rsqrt(var + 1e-6))


@case("", others="normalization =channel")
def layer_norm_by_division(net, x):
    x = net.conv(x)
    mean, var = x.mean(1, keepdim=True), x.var(1, keepdim=True)
    return net.scale[:, None, None] * ((x - mean) / (var + 1e-6).sqrt())


@case("", others="normalization")
def rms_norm(net, x):
    x = net.conv(x)
    return x * x.pow(2).mean(1, keepdim=True).add(1e-6).rsqrt()


@case("", others="normalization")
def rms_norm_scaled_before(net, x):
    x = net.conv(x).permute(0, 2, 3, 1)
    return x * (net.scale * torch.rsqrt((x * x).mean(-1, keepdim=True)))[..., :1]


@case("", others="normalization")
def instance_norm(net, x):
    x = net.conv(x)
    return (x - x.mean((2, 3), keepdim=True)) * (x.var((2, 3), keepdim=True) + 1e-5) ** -0.5


@case("", others="normalization")
def root_of_the_inverse(net, x):
    x = net.conv(x)
    return x * torch.sqrt(1 / (x.var((2, 3), keepdim=True) + 1e-5))


@case("", others="normalization")
def unit_length(net, x):
    x = net.conv(x)
    return x / x.norm(dim=1, keepdim=True).clamp_min(1e-6)


@case("", others="normalization")
def softmax_by_hand(net, x):
    x = net.conv(x).flatten(2).exp()
    return x / x.sum(2, keepdim=True)


@case("", others="normalization")
def maximum_to_one(net, x):
    x = net.conv(x).abs()
    return x / x.amax((1, 2, 3), keepdim=True)


@case("")
def function_of_torch(net, x):
    return F.normalize(F.layer_norm(net.conv(x), [12]), dim=1)


@case("", others="normalization")
def variance_by_moments(net, x):
    x = net.conv(x)
    mean = x.mean((2, 3), keepdim=True)
    return (x - mean) / ((x * x).mean((2, 3), keepdim=True) - mean * mean + 1e-5).sqrt()


@case("", others="normalization")
def unit_length_where_there_is_any(net, x):
    x = net.conv(x)
    length = x.norm(dim=1, keepdim=True)
    return x / torch.where(length > 0, length, torch.ones_like(length))


@case("", others="normalization")
def linear_attention(net, x):
    x = net.conv(x).flatten(2).transpose(1, 2).relu()
    q, k = net.fc(x), net.fc(x)
    return (q @ (k.transpose(1, 2) @ x)) * (1 / (q @ k.sum(1)[:, :, None] + 1e-6))


@case("", others="mask")
def mask_at_another_resolution(net, x):
    mask = (x > 0).any(1, keepdim=True).float()
    return net.conv(F.interpolate(x, scale_factor=2.0)) * F.interpolate(mask, scale_factor=2.0)


@case("", others="product")
def dot_product_with_the_mean(net, x):
    x = net.conv(x)
    return (x * x.mean((2, 3), keepdim=True)).sum(1)


@case("", others="mask")
def padding_mask(net, x):
    return net.conv(x) * (x.sum(1, keepdim=True) > 0.1).float()


@case("", others="mask")
def padding_mask_filled(net, x):
    return net.conv(x).masked_fill((x == 0).all(1, keepdim=True), 0)


@case("", others="=strip")
def constant_mask(net, x):
    return net.conv(x) * (torch.arange(12) < 6).float().expand(10, 12)


@case("")
def relu_by_hand(net, x):
    x = net.conv(x)
    return x * (x > 0)


@case("")
def self_attention(net, x):
    x = net.conv(x).flatten(2).transpose(1, 2)
    q, k, v = net.fc(x), net.fc(x), net.fc(x)
    scores = (q @ k.transpose(1, 2)).masked_fill(torch.ones(120, 120).triu(1).bool(), float("-inf"))
    return scores.softmax(-1) @ v


@case("")
def rotary(net, x):
    x = net.conv(x).flatten(2).transpose(1, 2)
    angle = torch.arange(120)[:, None] * torch.arange(C)[None] / 10
    return x * angle.cos() + torch.cat([-x[..., 3:], x[..., :3]], -1) * angle.sin()


@case("")
def dropout(net, x):
    return F.dropout2d(net.conv(x), training=net.training)


@case("")
def plain(net, x):
    return net.conv(x).relu().mean((2, 3))


@case("")
def difference(net, x):
    x = net.conv(x)
    return x - x.mean((2, 3), keepdim=True)


# --- what is not known


@case("", others="?channel")
def through_numpy(net, x):
    x, v = maps(net, x)
    kept = torch.from_numpy(np.ones_like(v.detach().numpy()))
    return x * kept


def case_named(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


# --- ways that are not seen: said in the README


UNSEEN: list[Case] = []


def unseen(forward: Callable[[Net, Tensor], Any]) -> Callable[[Net, Tensor], Any]:
    UNSEEN.append(Case(forward.__name__, forward, ""))
    return forward


@unseen
def diagonal_matrix(net, x):
    x, v = maps(net, x)
    return torch.diag_embed(v[:, :, 0, 0]) @ x.flatten(2)


@unseen
def convolution_by_the_gate(net, x):
    x, v = maps(net, x)
    n, c, h, w = x.shape
    return F.conv2d(x.view(1, n * c, h, w), v.view(n * c, 1, 1, 1), groups=n * c).view_as(x)


@unseen
def full_size(net, x):
    x, _ = maps(net, x)
    return x * torch.sigmoid(net.more(x))


@unseen
def python_numbers(net, x):
    x = net.conv(x)
    return torch.stack([image * image.mean().sigmoid().item() for image in x])


@unseen
def script_function(net, x):
    x, v = maps(net, x)
    return _scripted(x, v)


@unseen
def mapped_over_the_batch(net, x):
    x, v = maps(net, x)
    return torch.vmap(torch.mul)(x, v)


@torch.jit.script
def _scripted(x: Tensor, v: Tensor) -> Tensor:
    return x * v
