"""`fewstep encode`: prompts to a store that training and serving read instead of the text encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from tyro.conf import Positional

from fewstep.commands.console import counter, or_truncate
from fewstep.commands.generate import read_prompts
from fewstep.files import require_writable


@dataclass(frozen=True, kw_only=True)
class Options:
    """Encode prompts once, so that the text encoder need not be loaded again."""

    prompts: Positional[Path]
    """A text file with one prompt per line."""
    model: str
    """A bundled model, a folder or a hub id, whose text encoder to use."""
    out: Path
    """The store's folder. Prompts that are in it already stay; an interrupted command goes on where it stopped."""
    negative: str | None = None
    """The negative prompt, which is stored too. Default: the model's own."""
    truncate: bool = False
    """Cut prompts that have more tokens than the model reads, instead of refusing them."""
    revision: str | None = None
    """Branch, tag or commit of a repository on the hub."""
    device: str | None = None
    """cpu, cuda or cuda:N. Default: a GPU where there is one."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the encoder and of a new store; auto is bfloat16 where the hardware is fast at it."""


def main(argv: Sequence[str]) -> None:
    """Encode what the store does not hold yet, and say what it holds."""
    options = tyro.cli(Options, prog="fewstep encode", args=list(argv))
    prompts = read_prompts(None, options.prompts)

    from fewstep.checkpoints.model_files import find_model
    from fewstep.checkpoints.texts import encoder_fingerprint
    from fewstep.hardware import pick_device, pick_dtype
    from fewstep.models.prompt_store import LABEL, build_store

    require_writable(options.out / LABEL)
    device = pick_device(options.device)
    dtype = pick_dtype(options.dtype, device)
    files = find_model(options.model, revision=options.revision)
    negative = files.passport.negative_prompt if options.negative is None else options.negative
    with counter() as bar, or_truncate():
        task = bar.add_task("prompts", total=None)
        store = build_store(
            options.out,
            [*prompts, negative, ""],
            lambda: files.text_encoder(dtype=dtype, device=device),
            fingerprint=encoder_fingerprint(files.parts.get("text_encoder")),
            dtype=None if options.dtype == "auto" else dtype,
            truncate=options.truncate,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    print(f"{options.out}: {len(store)} prompts of text encoder {store.label.encoder} in {store.label.dtype}")
