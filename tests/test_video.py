from __future__ import annotations

import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import av
import numpy as np
import pytest

from fewstep.files import OutputError, atomic_output, require_writable
from fewstep.video import contact_sheet, read_video, video_grid, write_image, write_video


def moving_square(frames: int = 9, height: int = 32, width: int = 48) -> np.ndarray:
    clip = np.full((frames, height, width, 3), (20, 60, 160), np.uint8)
    for index in range(frames):
        clip[index, 8:24, 2 + 2 * index : 18 + 2 * index] = (230, 200, 40)
    return clip


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp"])
@pytest.mark.parametrize("fps", [16, 8, 23.976])
def test_a_clip_keeps_its_rate_length_and_look(tmp_path: Path, suffix: str, fps: float):
    frames = moving_square()
    clip = read_video(write_video(tmp_path / f"clip{suffix}", frames, fps))
    assert clip.frames.shape == frames.shape
    assert clip.fps == pytest.approx(fps, rel=0.02)
    assert np.abs(clip.frames.astype(int) - frames).mean() < 6


def test_repeated_frames_survive_a_gif(tmp_path: Path):
    frames = moving_square(12)
    frames[3:9] = frames[3]
    clip = read_video(write_video(tmp_path / "still.gif", frames, 16))
    assert len(clip.frames) == 12
    assert clip.fps == pytest.approx(16, rel=0.02)


def test_mp4_is_h264_with_even_sides_that_browsers_play(tmp_path: Path):
    write_video(tmp_path / "odd.mp4", moving_square(5, 31, 47), 16)
    with av.open(str(tmp_path / "odd.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.height, stream.width, stream.average_rate) == (32, 48, 16)


def test_enlarging_repeats_pixels(tmp_path: Path):
    clip = read_video(write_video(tmp_path / "big.gif", moving_square(3), 10, enlarge=3))
    assert clip.frames.shape == (3, 96, 144, 3)


def test_a_gif_refuses_rates_that_viewers_slow_down(tmp_path: Path):
    with pytest.raises(ValueError, match="at most 50"):
        write_video(tmp_path / "fast.gif", moving_square(2), 60)


@pytest.mark.parametrize(
    "frames", [np.zeros((2, 8, 8, 3), np.float32), np.zeros((8, 8, 3), np.uint8), np.zeros((0, 8, 8, 3), np.uint8), [1]]
)
def test_frames_of_the_wrong_kind_are_refused(tmp_path: Path, frames):
    with pytest.raises(ValueError, match="uint8 array"):
        write_video(tmp_path / "x.mp4", frames, 16)
    assert not list(tmp_path.iterdir())


def test_an_unknown_ending_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="mp4"):
        write_video(tmp_path / "x.avi", moving_square(2), 16)


def test_a_failed_write_leaves_the_old_file_and_no_scratch(tmp_path: Path):
    target = tmp_path / "x.mp4"
    target.write_bytes(b"old")

    def fail_halfway() -> None:
        with atomic_output(target) as scratch:
            scratch.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_folders_that_cannot_be_written_are_named(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "x.mp4", tmp_path):
        with pytest.raises(OutputError, match="cannot write"):
            require_writable(path)
    with pytest.raises(OutputError, match="not a folder"):
        write_video(tmp_path / "file" / "x.gif", moving_square(2), 16)


def test_running_out_of_space_is_one_error_and_leaves_nothing(tmp_path: Path):
    program = textwrap.dedent("""
        import sys
        import numpy as np
        from fewstep.files import OutputError
        from fewstep.video import write_video
        frames = np.random.default_rng(0).integers(0, 255, (9, 64, 64, 3), dtype=np.uint8)
        for suffix in (".mp4", ".gif", ".webp"):
            try:
                write_video(sys.argv[1] + "/x" + suffix, frames, 16)
            except OutputError as error:
                print(error)
    """)
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # noqa: E731
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit)
    assert done.returncode == 0, done.stderr
    assert [line.split("/")[0] for line in done.stdout.splitlines()] == ["cannot write "] * 3
    assert not list(tmp_path.iterdir())


def test_truncated_missing_and_foreign_videos_are_refused(tmp_path: Path):
    whole = write_video(tmp_path / "x.mp4", moving_square(), 16).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.gif").write_text("no picture")
    for name in ("cut.mp4", "text.gif", "none.mp4"):
        with pytest.raises(ValueError, match="required"):
            read_video(tmp_path / name)


def test_a_grid_holds_the_last_frame_of_shorter_clips_and_labels_each():
    short, long = moving_square(3), moving_square(9)
    grid = video_grid([short, long, long], ["a", "a much longer label than fits\nsecond line", "шар 球 🎈"], columns=2)
    assert len(grid) == 9
    assert grid.dtype == np.uint8
    y, x = (int(v) for v in np.argwhere((grid[0] == short[0, 0, 0]).all(-1))[0])
    assert (grid[8, y : y + 32, x : x + 48] == short[-1]).all()


def test_a_contact_sheet_shows_first_and_last_moment(tmp_path: Path):
    clip = moving_square()
    sheet = contact_sheet([clip], ["one"], columns=1, moments=3)
    flat = sheet.reshape(-1, 3)
    assert sheet.shape[1] >= 3 * 48
    assert (flat == clip[0, 10, 10]).all(-1).any()
    write_image(tmp_path / "sheet.png", sheet)
    with pytest.raises(ValueError, match="one label per clip"):
        contact_sheet([clip], [], columns=1)
