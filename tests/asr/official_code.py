"""The computation of the official code from one of its checkpoints, without our code: the oracle of several tests."""

from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision import transforms

# As its data loaders have it, for CIFAR-100, too.
PREPROCESS = transforms.Compose(
    [transforms.ToTensor(), transforms.Normalize((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))]
)


def weights(path: Path) -> dict[str, Tensor]:
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    return {key.removeprefix("module."): value for key, value in state.items()}


def images(paths: list[Path]) -> Tensor:
    """Image files as its networks are fed with them, (N, 3, H, W)."""
    return torch.stack([PREPROCESS(Image.open(path).convert("RGB")) for path in paths])


def logits(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """Its bottleneck ResNet in evaluation, deployed: where ASR is, the value is folded into bn3."""

    def norm(name: str, x: Tensor) -> Tensor:
        name = f"{name}.fused_bn" if f"{name}.fused_bn.weight" in state else name
        mean, var, weight, bias = (state[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, weight, bias)

    def conv(name: str, x: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
        return F.conv2d(x, state[f"{name}.weight"], stride=stride, padding=padding)

    def linear(name: str, x: Tensor) -> Tensor:
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    x = F.relu(norm("bn1", conv("conv1", x, padding=1)))
    for stage in (1, 2, 3):
        block = 0
        while f"layer{stage}.{block}.conv1.weight" in state:
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            shortcut = x
            if f"{name}.downsample.0.weight" in state:
                shortcut = norm(f"{name}.downsample.1", conv(f"{name}.downsample.0", x, stride))
            y = F.relu(norm(f"{name}.bn1", conv(f"{name}.conv1", x)))
            y = F.relu(norm(f"{name}.bn2", conv(f"{name}.conv2", y, stride, padding=1)))
            y = norm(f"{name}.bn3", conv(f"{name}.conv3", y))
            if f"{name}.attention_module.fc1.weight" in state:
                gate = F.relu(linear(f"{name}.attention_module.fc1", y.mean((2, 3))))
                y = y * torch.sigmoid(linear(f"{name}.attention_module.fc2", gate))[:, :, None, None]
            x = F.relu(y + shortcut)
            block += 1
    return linear("fc", F.avg_pool2d(x, 8).flatten(1))
