"""The shape vocabulary: one axis order and one time unit for the whole package.

Letters: b clip, t latent frame, c latent channel, h w latent rows and columns, l text token, d text width,
n tokens of a clip (t * rows * columns after patchify), k heads, e head width, f pixel frames.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

Latents = Float[Tensor, "b t c h w"]
"""A clip, or part of one, in the VAE's latent space, normalised to about unit variance."""

MoreLatents = Float[Tensor, "b _t c h w"]
"""Frames of the same clips as the `Latents` beside them, but not as many."""

Sigma = Float[Tensor, "b t"]
"""Noise level in [0, 1] of each latent frame: x_sigma = (1 - sigma) x0 + sigma eps. Never multiplied by 1000."""

TextEmbeds = Float[Tensor, "b l d"]
"""Text encoder output, rows past the prompt's end exactly zero."""

Logits = Float[Tensor, "_rows m"]
"""Discriminator outputs, one column per judged step count; one row per clip, or for each frame of each clip."""

Pixels = UInt8[Tensor, "b f 3 H W"]
"""Decoded frames, 0..255, RGB."""

Frames = UInt8[np.ndarray, "f H W 3"]
"""Pictures of one clip in order, RGB, 0..255."""

Picture = UInt8[np.ndarray, "H W 3"]
"""One picture, RGB, 0..255."""

Mask = Bool[Tensor, "q k"]
Scalar = Float[Tensor, ""]
Index = Int[Tensor, "b"]
