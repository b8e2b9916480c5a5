"""The video autoencoder's training: reconstruct pixels and edges, keep the latents small.

A variational autoencoder as in latent diffusion (LDM 3.1), without its perceptual and adversarial terms.
Page: docs/methods/autoencoder.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from einops import rearrange
from torch import Tensor, nn

from fewstep.diffusion.rng import Rng
from fewstep.methods.base import Batch, Loss, OptimConfig, Player, Turn, require_literals, require_numbers


class AutoencoderNetworks(Protocol):
    """What this method asks for."""

    def autoencoder(self) -> nn.Module: ...


class Autoencoder(Protocol):
    """What `VideoVAE` offers to its training; latents are not normalised here."""

    def posterior(self, frames: Tensor) -> tuple[Tensor, Tensor]: ...

    def decode_raw(self, z: Tensor) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """Weights of the loss's terms and the optimiser."""

    edges: float = 1.0
    """Weight of the L1 difference of horizontal and vertical pixel differences: without it stripes blur to grey."""
    squares: float = 1.0
    """Weight of the mean squared error: L1 alone rests long at the median, where all of a clip is its background."""
    kl: float = 1e-5
    """Weight of the mean KL divergence per latent from a standard normal (LDM: 1e-6 of the sum over a picture)."""
    learns: Literal["all", "decoder"] = "all"
    """What moves: with "decoder" the latents stay as they are, and so does all that was trained on them."""
    latent_noise: float = 0.0
    """Largest deviation of extra noise on the latents, drawn per clip: a decoder of generated latents forgives more."""
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(
            lr=2e-3, betas=(0.9, 0.99), weight_decay=1e-3, clip=1.0, warmup=50, decay=True
        )
    )
    """Optimiser of encoder and decoder."""

    def __post_init__(self) -> None:
        require_literals(self)
        require_numbers(self, at_least=dict.fromkeys(("edges", "squares", "kl", "latent_noise"), 0))

    def build(self, networks: AutoencoderNetworks, rng: Rng) -> AutoencoderMethod:
        return AutoencoderMethod(self, networks.autoencoder(), rng)


class AutoencoderMethod:
    """Each step encodes windows of clips, samples the posterior and compares the decoded pixels."""

    generator = "autoencoder"

    def __init__(self, cfg: AutoencoderConfig, vae: nn.Module, rng: Rng):
        self.cfg, self.vae, self.rng = cfg, vae, rng
        self.players = {self.generator: Player(vae, cfg.optim)}

    def turns(self, step: int) -> Sequence[Turn]:
        return [Turn(self.generator, self.loss)]

    def loss(self, batch: Batch) -> Loss:
        """L1 + `squares` MSE of pixels + `edges` L1 of their differences + `kl` KL; the posterior is sampled."""
        if batch.frames is None:
            raise ValueError("the autoencoder trains on Batch.frames, got None: use PixelData")
        frames = batch.frames
        with torch.set_grad_enabled(self.cfg.learns == "all" and torch.is_grad_enabled()):
            mean, log_var = (moment.float() for moment in self.vae.posterior(frames))
        z = mean + (0.5 * log_var).exp() * self.rng.normal_like(mean)
        if self.cfg.latent_noise:
            share = self.rng.uniform(len(z)).square().view(-1, 1, 1, 1, 1).to(z)
            z = z + self.cfg.latent_noise * share * self.rng.normal_like(z)
        decoded = self.vae.decode_raw(z).float()
        l1 = (decoded - frames).abs().mean()
        edges = edge_loss(decoded, frames)
        kl = kl_divergence(mean, log_var)
        squares = (decoded - frames).square().mean()
        parts = {"l1": l1, "edges": edges, "kl": kl, "psnr": psnr(squares)}
        total = l1 + self.cfg.squares * squares + self.cfg.edges * edges + self.cfg.kl * kl
        return Loss(total, {name: value.detach() for name, value in parts.items()})


@torch.no_grad()
def measure_latent_stats(vae: Autoencoder, clips: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per channel of the posterior means of `b f 3 H W` clips, for the model's config.

    Raises ValueError when there are no clips.
    """
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for frames in clips:
        mean, _ = vae.posterior(frames)
        rows = rearrange(mean.double().cpu(), "b t c h w -> (b t h w) c")
        count, total, squares = count + len(rows), total + rows.sum(0), squares + rows.square().sum(0)
    if not count:
        raise ValueError("latent statistics need at least one clip, got none")
    mean = total / count
    return mean.float(), (squares / count - mean.square()).clamp_min(1e-12).sqrt().float()


def edge_loss(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute difference between the horizontal and vertical pixel differences of two `b f 3 H W` clips."""
    error = x - y
    return error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()


def kl_divergence(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mean, exp log_var) || N(0, 1)) in nats, mean over all latents."""
    return 0.5 * (mean.square() + log_var.exp() - 1 - log_var).mean()


def psnr(squared_error: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of a mean squared error of pixels in [-1, 1]."""
    return 10 * (4 / squared_error.clamp_min(1e-10)).log10()
