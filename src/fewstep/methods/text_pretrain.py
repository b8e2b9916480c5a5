"""The small text encoder's training: say what a caption states, and fill in masked words.

Our own stand-in for UMT5's pretraining: at the size of the embedded model, embeddings must hold what a scene
specification holds. Page: docs/methods/text_pretrain.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fewstep.diffusion.rng import Rng
from fewstep.methods.base import Batch, Loss, OptimConfig, Player, Turn, require_numbers
from fewstep.models.text import TextEncoder
from fewstep.shapes.scene import ATTRIBUTES, SCENE_ATTRIBUTES, Scene
from fewstep.types import TextEmbeds

OBJECTS = 3
"""Most objects of a scene."""
UNSTATED = -100
"""Target of what a caption does not say, and of objects that are not there; no loss looks at it."""

MASKED_ROWS = 4
"""One in so many prompts of a batch is also seen with masked words; the others would cost more than they teach."""

SCENE_ATOMS = {"count": tuple(str(count + 1) for count in range(OBJECTS)), **SCENE_ATTRIBUTES}
"""What is said once, the number of objects included."""


def scene_targets(scenes: Sequence[Scene]) -> dict[str, Tensor]:
    """Class of every atom: `b OBJECTS` for those of objects, in the caption's order, `b 1` for those of the scene."""
    rows: dict[str, list[list[int]]] = {name: [] for name in (*ATTRIBUTES, *SCENE_ATOMS)}
    for scene in scenes:
        for name, values in ATTRIBUTES.items():
            said = [getattr(obj, name) if name not in obj.unstated else None for obj in scene.objects]
            rows[name].append([_class(values, value) for value in (*said, *[None] * (OBJECTS - len(said)))])
        once = {"count": str(len(scene.objects)), "relation": scene.relation}
        once |= {name: getattr(scene, name) for name in ("background", "camera") if name not in scene.unstated}
        for name, values in SCENE_ATOMS.items():
            rows[name].append([_class(values, once.get(name))])
    return {name: torch.tensor(values) for name, values in rows.items()}


def _class(values: tuple[str, ...], value: str | None) -> int:
    return UNSTATED if value is None else values.index(value)


class Readout(nn.Module):
    """A learned query per object and atom, and per atom of the scene, attends to the embeddings and is classified."""

    def __init__(self, width: int, num_heads: int = 4):
        super().__init__()
        atoms = {name: (OBJECTS, values) for name, values in ATTRIBUTES.items()}
        atoms |= {name: (1, values) for name, values in SCENE_ATOMS.items()}
        self.slots = {name: slots for name, (slots, _) in atoms.items()}
        self.queries = nn.Parameter(torch.randn(sum(self.slots.values()), width))
        self.attention = nn.MultiheadAttention(width, num_heads, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.classes = nn.ModuleDict({name: nn.Linear(width, len(values)) for name, (_, values) in atoms.items()})

    def forward(self, embeds: TextEmbeds) -> dict[str, Tensor]:
        """Logits `b slots classes` by atom; rows of embeddings that are exactly zero are not attended to."""
        past_the_end = (embeds == 0).all(-1)
        queries = self.queries.expand(len(embeds), -1, -1)
        read, _ = self.attention(queries, embeds, embeds, key_padding_mask=past_the_end, need_weights=False)
        pieces = self.norm(queries + read).split(list(self.slots.values()), dim=1)
        return {name: self.classes[name](piece) for name, piece in zip(self.slots, pieces, strict=True)}


class TextNetworks(Protocol):
    """What this method asks for."""

    def text_encoder(self) -> TextEncoder: ...


@dataclass(frozen=True, kw_only=True)
class TextPretrainConfig:
    """Weights of the two tasks and the optimiser of both players."""

    masked_share: float = 0.15
    """Share of the words that are masked (BERT 3.1)."""
    masked_weight: float = 0.2
    """Weight of the masked words' cross-entropy beside that of the atoms."""
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(
            lr=2e-3, betas=(0.9, 0.98), weight_decay=0.01, clip=1.0, warmup=50, decay=True
        )
    )
    """Optimiser of the encoder and of the readout."""

    def __post_init__(self) -> None:
        if not 0 < self.masked_share < 1:
            raise ValueError(f"TextPretrainConfig.masked_share must be between 0 and 1, got {self.masked_share}")
        require_numbers(self, at_least={"masked_weight": 0})

    def build(self, networks: TextNetworks, rng: Rng) -> TextPretrain:
        return TextPretrain(self, networks.text_encoder(), rng)


class TextPretrain:
    """Encoder and readout take turns on the same loss; only the encoder is kept."""

    generator = "text_encoder"

    def __init__(self, cfg: TextPretrainConfig, encoder: TextEncoder, rng: Rng):
        self.cfg, self.encoder, self.rng = cfg, encoder, rng
        self.readout = Readout(encoder.width).to(rng.device)
        self.players = {"text_encoder": Player(encoder, cfg.optim), "readout": Player(self.readout, cfg.optim)}

    def turns(self, step: int) -> Sequence[Turn]:
        return [Turn("readout", self.loss), Turn("text_encoder", self.loss)]

    def loss(self, batch: Batch) -> Loss:
        """Cross-entropy of the stated atoms plus `masked_weight` that of masked words."""
        if batch.tokens is None or batch.targets is None:
            raise ValueError("the text encoder trains on Batch.tokens and Batch.targets, got None for one of them")
        logits = self.readout(self.encoder.embed(batch.tokens))
        atoms = atom_loss(logits, batch.targets)
        masked = self.masked_loss(batch.tokens[: -(-len(batch.tokens) // MASKED_ROWS)])
        parts = {"atoms": atoms.detach(), "masked": masked.detach(), "accuracy": atom_accuracy(logits, batch.targets)}
        return Loss(atoms + self.cfg.masked_weight * masked, parts)

    def masked_loss(self, tokens: Tensor) -> Tensor:
        """Cross-entropy of randomly masked tokens, read out by the embedding table that reads them in."""
        tokenizer = self.encoder.tokenizer
        special = torch.tensor(tokenizer.all_special_ids, device=tokens.device)
        words = ~torch.isin(tokens, special)
        hidden = words & (self.rng.uniform(*tokens.shape) < self.cfg.masked_share)
        if not hidden.any():
            return self.readout.queries.sum() * 0
        embeds = self.encoder.embed(tokens.masked_fill(hidden, tokenizer.mask_token_id))[hidden]
        table = self.encoder.model.shared.weight
        return F.cross_entropy(embeds @ table.T * table.shape[1] ** -0.5, tokens[hidden])


def atom_loss(logits: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
    """Mean over all stated atoms of the cross-entropy of their class."""
    losses = [
        F.cross_entropy(logits[name].flatten(0, 1), targets[name].flatten(), ignore_index=UNSTATED, reduction="sum")
        for name in logits
    ]
    return torch.stack(losses).sum() / sum((target != UNSTATED).sum() for target in targets.values()).clamp_min(1)


@torch.no_grad()
def atom_accuracy(logits: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
    """Share of the stated atoms that are classified right."""
    right = sum(((logits[name].argmax(-1) == targets[name]) & (targets[name] != UNSTATED)).sum() for name in logits)
    return right / sum((target != UNSTATED).sum() for target in targets.values()).clamp_min(1)
