"""From a name to files: a bundled model, a folder of one's own, or a repository of the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fewstep.checkpoints.tensors import WEIGHT_SUFFIXES
from fewstep.models.checkpoint_dir import BUNDLED, ModelError, resolve_model

PUBLISHED: Mapping[str, str] = {
    name: f"Wan-AI/{name}"
    for size in ("1.3B", "14B")
    for name in (f"Wan2.1-T2V-{size}-Diffusers", f"Wan2.1-T2V-{size}")
}
"""Repositories that are known by their name alone, as recipes name them."""
NEEDED = ("*.json", "*.safetensors", "tokenizer/*", "google/*", "Wan2.1_VAE.pth", "models_t5_*.pth")
"""What of a repository a model is made of."""
UNNEEDED = ("image_encoder/*", "assets/*", "examples/*", "*.bin", "*_fp16.safetensors")


def fetch(name_or_dir: str | Path, revision: str | None = None) -> Path:
    """The folder of a model: a bundled name, a folder, or a hub id such as `Wan-AI/Wan2.1-T2V-1.3B-Diffusers`.

    From the hub only the needed files are downloaded, once, with progress; an interrupted download resumes. Bundled
    names and folders win over the hub. `revision` is a branch, tag or commit.

    Raises ModelError for a name that is nowhere, a repository that is gated, renamed or unknown, a revision that it
    does not have, and for no way to the hub.
    """
    name = str(name_or_dir)
    here = _is_here(name)
    if revision is not None and here:
        raise ModelError(f"a revision is one of a repository on the hub, got {revision!r} for {name}: leave it out")
    if here or not (repo := _repository(name)):
        return resolve_model(name_or_dir)
    return Path(_ask(repo, revision, lambda hub: hub.snapshot_download(repo, **_what(revision))))


def fetch_weights(path: str | Path, revision: str | None = None) -> Path:
    """A file of weights, on this machine or on the hub as `owner/name/path/to/it.pt`; else what `fetch` finds."""
    path = Path(path)
    if path.is_file() or path.suffix not in WEIGHT_SUFFIXES:
        return path if path.is_file() else fetch(path, revision)
    if len(path.parts) < 3 or not _repository("/".join(path.parts[:2])):
        raise ModelError(f"no weights at '{path}': give a file or folder, or one on the hub as owner/name/path/in/it")
    repo, file = "/".join(path.parts[:2]), "/".join(path.parts[2:])
    return Path(_ask(repo, revision, lambda hub: _one_file(hub, repo, file, revision)))


def _is_here(name: str) -> bool:
    """Whether a folder of that name, or a bundled model, is on this machine."""
    try:
        return resolve_model(name).is_dir()
    except ModelError:
        return name in BUNDLED


def _repository(name: str) -> str | None:
    """The hub id that a name means, if it can be one."""
    if name in PUBLISHED:
        return PUBLISHED[name]
    return name if re.fullmatch(r"[\w-]+/[\w.-]+", name) else None


def _what(revision: str | None) -> dict[str, Any]:
    return {"revision": revision, "allow_patterns": list(NEEDED), "ignore_patterns": list(UNNEEDED)}


def _ask(repo: str, revision: str | None, ask: Callable[[Any], str]) -> str:
    """What the hub answers, or one clear error."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise ModelError(
            f"fetching {repo} needs the package huggingface_hub: `pip install huggingface_hub`, or give a folder"
        ) from error
    with _explained(repo, revision):
        return ask(huggingface_hub)


@contextmanager
def _explained(repo: str, revision: str | None) -> Iterator[None]:
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise ModelError(
            f"{repo} is gated: accept its terms on its page, then `hf auth login` (or set HF_TOKEN) and try again"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"the hub has no model {repo}, or it is private or was renamed: check the name; a private one "
            "needs `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(
            f"{repo} has no revision {revision!r}: choose a branch, tag or commit of it, or leave it out"
        ) from error
    except errors.EntryNotFoundError as error:
        if isinstance(error, errors.LocalEntryNotFoundError):
            raise ModelError(_no_way(repo, error)) from error
        raise ModelError(f"{repo} has no such file ({_first_line(error)}): see what its page lists") from error
    except errors.HFValidationError as error:
        raise ModelError(f"no model is called or at '{repo}': give a folder or hub id") from error
    except Exception as error:
        if not isinstance(error, errors.HfHubHTTPError) and not _is_lost_connection(error):
            raise
        raise ModelError(_no_way(repo, error)) from error


def _one_file(hub: Any, repo: str, file: str, revision: str | None) -> str:
    """Download a file, or take the copy of an earlier download where there is no way to the hub."""
    try:
        hub.HfApi().model_info(repo, revision=revision)  # asks once; a download would retry for half a minute
        reached = True
    except Exception as error:
        if not _is_lost_connection(error):
            raise
        reached = False
    return hub.hf_hub_download(repo, file, revision=revision, local_files_only=not reached)


def _is_lost_connection(error: Exception) -> bool:
    from huggingface_hub import errors

    if isinstance(error, errors.HfHubHTTPError):
        return False
    # what a lost connection raises depends on the HTTP library that this version of the hub's client uses
    library = type(error).__module__.split(".")[0]
    return isinstance(error, OSError) or library in ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3")


def _no_way(repo: str, error: BaseException) -> str:
    return (
        f"{repo} is no folder here, and the hub cannot be reached ({_first_line(error)}): connect and try again (a "
        "download resumes), or give the folder of a copy"
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
