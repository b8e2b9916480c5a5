"""Chunk layouts divide clips exactly, or say which lengths they divide."""

from __future__ import annotations

import pytest

from fewstep.models.layout import ChunkLayout


@pytest.mark.parametrize(
    ("layout", "frames", "sizes"),
    [
        (ChunkLayout(3), 9, (3, 3, 3)),
        (ChunkLayout(3), 21, (3,) * 7),
        (ChunkLayout(4, first=1), 21, (1, 4, 4, 4, 4, 4)),
        (ChunkLayout(4, first=1), 1, (1,)),
        (ChunkLayout(1), 2, (1, 1)),
    ],
)
def test_sizes_of_clips_that_fit(layout, frames, sizes):
    assert layout.sizes(frames) == sizes


@pytest.mark.parametrize(
    ("layout", "frames", "fits"),
    [
        (ChunkLayout(3), 10, "9 or 12"),
        (ChunkLayout(3), 2, "use 3 latent"),
        (ChunkLayout(4, first=1), 20, "17 or 21"),
        (ChunkLayout(3), 0, "use 3 latent"),
    ],
)
def test_a_clip_that_does_not_fit_is_told_the_nearest_lengths(layout, frames, fits):
    with pytest.raises(ValueError, match=fits):
        layout.sizes(frames)


@pytest.mark.parametrize("wrong", [{"chunk": 0}, {"chunk": 3, "first": 0}])
def test_empty_chunks_are_refused(wrong):
    with pytest.raises(ValueError, match="1 latent frame or more"):
        ChunkLayout(**wrong)
