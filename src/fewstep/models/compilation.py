"""The transformer's blocks through torch.compile."""

from __future__ import annotations

import torch

from fewstep.hardware import require_compiler
from fewstep.models.dit import VideoDiT

MAX_SHAPES = 64
"""Context lengths and chunk sizes that a compiled block may see before it falls back to eager."""


def compile_blocks(net: VideoDiT) -> None:
    """Compile each transformer block in place; the first clip of a new shape pays for it.

    The decoder stays eager: its cache changes kind from call to call, and each kind would be compiled anew.
    Raises ValueError where there is no compiler.
    """
    require_compiler(next(net.parameters()).device)
    # blocks share their code, and a clip runs it with caches of many lengths: each length is compiled once
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, MAX_SHAPES)
    for block in net.blocks:
        block.compile()
