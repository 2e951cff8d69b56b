"""Channel attention for a vision transformer."""

import torch
from torch import Tensor, nn

from stripe.attention import Attention
from stripe.errors import StripeError

__all__ = ["TokenAttention"]


class TokenAttention(nn.Module):
    """Attention over the features of tokens: the features are the channels, the tokens are the positions.

    ``y = x ⊙ v``, v the gate of the map (N, C, T, 1), class token included, with tanh as its last step (Stripe
    Observation paper, appendix B.2: "we apply ASR to the dimension of the features", with tanh for the sigmoid).

    Args:
        attention: For C channels; its ``activation`` is set.

    Raises:
        StripeError: It looks at the neighbourhood in the image, which tokens in a row have lost, or is no attention.
    """

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        if not isinstance(attention, Attention) or attention.kind != "channel":
            raise StripeError(
                f"{type(attention).__name__} is no channel attention; only that can follow a ViT's tokens"
            )
        attention.activation = torch.tanh
        self.attention_module = attention

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (N, T, C), of the same shape."""
        gate = self.attention_module.gate(x.transpose(1, 2).unsqueeze(-1))
        return x * gate.flatten(2).transpose(1, 2)
