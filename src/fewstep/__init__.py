"""fewstep: one causal video student for 1, 2 and 4 steps. `fewstep.load(name_or_folder)` is the way in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fewstep.pipeline import Generation, Pipeline, StreamSession

__version__ = "0.1.0"
__all__ = ["Generation", "Pipeline", "StreamSession", "load"]


def load(name_or_folder: str, **options: Any) -> Pipeline:
    """A model ready to generate: a bundled name or a folder. Options are those of `Pipeline.load`."""
    from fewstep.pipeline import Pipeline

    return Pipeline.load(name_or_folder, **options)


def __getattr__(name: str) -> Any:
    # torch takes seconds to import: only those who ask for a pipeline wait for it
    if name in __all__:
        from fewstep import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module 'fewstep' has no attribute '{name}'")
