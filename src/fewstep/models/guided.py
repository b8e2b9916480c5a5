"""A causal network under classifier-free guidance, with a past for each of the two branches."""

from __future__ import annotations

import torch
from torch import Tensor

from fewstep.diffusion.flow import guide
from fewstep.models.cache import Cache, Context
from fewstep.models.dit import DiTConfig, Placement, TextKV, VideoDiT
from fewstep.types import Latents, MoreLatents, Sigma, TextEmbeds


class Guided:
    """Every pass runs both branches, as one batch of twice the clips; commits too, for the past depends on the prompt.

    To the autoregressive loop it is a network like any other. For inference only: it takes prompts as keys and values.
    """

    def __init__(self, net: VideoDiT, null_text: TextEmbeds, guidance: float):
        self.net, self.null_text, self.guidance = net, null_text, guidance

    @property
    def cfg(self) -> DiTConfig:
        return self.net.cfg

    @property
    def placement(self) -> Placement:
        return self.net.placement

    def encode_text(self, text: TextEmbeds) -> TextKV:
        """Of the prompts, then of the unconditional prompt for each of them."""
        return self.net.encode_text(torch.cat((text, self.null_text.to(text))))

    def prefill(self, x: MoreLatents, sigma: Sigma, text: TextKV, cache: Cache, context: Context) -> Cache:
        """The commit of both branches."""
        return self.net.prefill(twice(x), twice(sigma), text, cache, context)

    def __call__(self, x: Latents, sigma: Sigma, text: TextKV, *, cache: Cache, context: Context) -> Latents:
        """The guided velocity, each branch behind its own past."""
        cond, uncond = self.net(twice(x), twice(sigma), text, cache=cache, context=context).chunk(2)
        return guide(cond, uncond, self.guidance)

    def forward_packed(
        self, clean: MoreLatents, noisy: Latents, sigma: Sigma, text: TextKV, cache: Cache, context: Context
    ) -> tuple[Latents, Cache]:
        """Both branches' commit of `clean` and the guided velocity behind it."""
        v, cache = self.net.forward_packed(twice(clean), twice(noisy), twice(sigma), text, cache, context)
        cond, uncond = v.chunk(2)
        return guide(cond, uncond, self.guidance), cache


def twice(x: Tensor) -> Tensor:
    """A batch, and the same once more."""
    return torch.cat((x, x))
