"""Teacher forcing: every chunk of a noisy clip behind the clean chunks before it, all of them in one pass.

The sequence is [clean | noisy], the same frames twice, at the same positions. The clean half is block-causal; a chunk
of the noisy half sees the clean chunks before it and itself, which is what a rollout shows it behind its cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fewstep.models.cache import Context, Past, Pieces, Plan, Runs, View, plan_views


@dataclass(frozen=True)
class TeacherForcing:
    """In the place of a cache for a pass over [clean | noisy]: nothing is behind it, and it says who sees whom."""

    num_layers: int

    def open(self, sizes: Sequence[int], context: Context) -> tuple[Plan, Sequence[Past]]:
        """Views of the clean chunks, then those of the noisy ones; `sizes` are those of one half."""
        frames = sum(sizes)
        clean = plan_views(range(frames), 0, sizes, context)
        noisy = tuple(_behind_clean(view, frames) for view in clean.views)
        plan = Plan(clean.positions * 2, clean.query_positions * 2, (*clean.views, *noisy))
        return plan, (Pieces(),) * self.num_layers


def _behind_clean(view: View, frames: int) -> View:
    """The view of the noisy chunk at the place of a clean one: its own frames are those of the second half."""
    start, stop = view.queries
    past: Runs = tuple((a, min(b, start)) for a, b in view.keys if a < start)
    own = (frames + start, frames + stop)
    return View(own, (*past, own), view.sink_positions)
