"""Frame features from a vision transformer in a folder of the user's, such as DINO or CLIP."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch

BATCH = 16
"""Frames that pass through the network at a time."""


class PretrainedFrames:
    """A model in transformers' format: its image projection where it has one (CLIP), else its class token (DINO).

    The folder's own preprocessing is used. Raises ValueError for a folder without a model or its preprocessing.
    """

    def __init__(self, folder: Path, device: torch.device | str = "cpu"):
        from transformers import AutoImageProcessor, AutoModel

        weights = sorted(folder.glob("*.safetensors"))
        if not weights or not (folder / "preprocessor_config.json").is_file():
            raise ValueError(
                f"'{folder}' is no image model: config.json, preprocessor_config.json and *.safetensors are required, "
                "as `save_pretrained` of transformers writes them"
            )
        self.processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
        self.network = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        self.network.eval().requires_grad_(False).to(device)
        self.device = torch.device(device)
        digest = hashlib.sha256()
        for path in (*weights, folder / "preprocessor_config.json"):
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        self.id = f"{self.network.config.model_type}:{digest.hexdigest()[:12]}"

    @torch.inference_mode()
    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Features `[f, d]`, float32, of uint8 RGB frames `[f, h, w, 3]`."""
        found = []
        for start in range(0, len(frames), BATCH):
            inputs = self.processor(images=list(frames[start : start + BATCH]), return_tensors="pt").to(self.device)
            if hasattr(self.network, "get_image_features"):
                made = self.network.get_image_features(**inputs)
                made = getattr(made, "pooler_output", made)
            else:
                made = self.network(**inputs).last_hidden_state[:, 0]
            found.append(made.float().cpu().numpy())
        return np.concatenate(found)
