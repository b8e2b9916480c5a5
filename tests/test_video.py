from __future__ import annotations

import resource
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from fewstep.files import OutputError, atomic_output, require_writable
from fewstep.video import open_video, read_end, read_video, shrink, write_image, write_video


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


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_shrinking_undoes_enlarging(factor: int):
    frames = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    assert np.array_equal(shrink(frames.repeat(factor, 1).repeat(factor, 2), factor), frames)


def test_a_finer_and_larger_file_shows_every_pixels_colour(tmp_path: Path):
    frames = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    errors = []
    for name, factor, crf in (("a", 1, 14), ("b", 2, 14), ("c", 2, 1)):
        clip = read_video(write_video(tmp_path / f"{name}.mp4", frames, 16, enlarge=factor, crf=crf))
        errors.append(np.abs(shrink(clip.frames, factor).astype(int) - frames).mean())
    assert errors[0] > 20  # 4:2:0 has one colour for four pixels
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 2


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


def test_pictures_are_written_whole_and_as_they_are(tmp_path: Path):
    picture = moving_square(1)[0]
    write_image(tmp_path / "x.png", picture)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "x.png")), picture)


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp"])
def test_pushed_piece_by_piece_a_clip_is_the_same_file(tmp_path: Path, suffix: str):
    frames = moving_square(9)
    write_video(tmp_path / f"whole{suffix}", frames, 16, enlarge=2)
    with open_video(tmp_path / f"pieces{suffix}", 16, enlarge=2) as push:
        for piece in (frames[:1], frames[1:4], frames[4:]):
            push(piece)
        assert not (tmp_path / f"pieces{suffix}").exists()
    assert (tmp_path / f"pieces{suffix}").read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()


def test_an_mp4_holds_nothing_but_the_latest_frames_while_it_is_written(tmp_path: Path):
    sizes = []
    with open_video(tmp_path / "x.mp4", 16) as push:
        for seed in range(8):
            push(np.random.default_rng(seed).integers(0, 255, (16, 64, 64, 3), dtype=np.uint8))
            sizes.append(sum(path.stat().st_size for path in tmp_path.iterdir()))
    assert sizes[-1] > sizes[4] > 0


@pytest.mark.parametrize("wrong", ["none", "another size", "an error"])
def test_a_clip_that_fails_leaves_no_file(tmp_path: Path, wrong: str):
    def fail() -> None:
        with open_video(tmp_path / "x.mp4", 16) as push:
            if wrong != "none":
                push(moving_square(3))
            if wrong == "another size":
                push(moving_square(3, 16, 16))
            if wrong == "an error":
                raise ValueError("one size")

    with pytest.raises(ValueError, match="1 frame or more" if wrong == "none" else "one size"):
        fail()
    assert not list(tmp_path.iterdir())


def test_an_mp4_says_its_colours_starts_fast_and_shows_them_truly(tmp_path: Path):
    colours = np.array([(200, 40, 40), (40, 200, 40), (40, 40, 200), (200, 200, 40)], np.uint8)
    frames = colours[None, :, None].repeat(4, 0).repeat(16, 1).repeat(64, 2)
    write_video(tmp_path / "x.mp4", frames, 16)
    with av.open(str(tmp_path / "x.mp4")) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.colorspace, codec.color_primaries, codec.color_trc) == (1, 1, 1)
    content = (tmp_path / "x.mp4").read_bytes()
    assert content.find(b"moov") < content.find(b"mdat")
    seen = read_video(tmp_path / "x.mp4").frames
    assert np.abs(seen[:, 8::16].astype(int) - colours[None, :, None]).max() <= 3


def lay(path: Path) -> None:
    """Write into an mp4 that it is to be turned a quarter clockwise, as a phone does."""
    content = bytearray(path.read_bytes())
    matrix = content.find(b"tkhd") + 4 + 40
    turned = (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    content[matrix : matrix + 36] = struct.pack(">9i", *turned)
    path.write_bytes(content)


def test_a_phones_lying_video_is_read_upright(tmp_path: Path):
    frames = moving_square(5, 32, 48)
    write_video(tmp_path / "x.mp4", frames, 16)
    lay(tmp_path / "x.mp4")
    upright = np.rot90(frames, -1, axes=(1, 2))
    for seen in (read_video(tmp_path / "x.mp4").frames, read_end(tmp_path / "x.mp4", 5, 16)):
        assert seen.shape == upright.shape
        assert np.abs(seen.astype(int) - upright).mean() < 6


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".webp"])
def test_the_end_of_a_clip_is_its_last_frames(tmp_path: Path, suffix: str):
    write_video(tmp_path / f"x{suffix}", moving_square(12), 16)
    whole = read_video(tmp_path / f"x{suffix}").frames
    assert np.array_equal(read_end(tmp_path / f"x{suffix}", 5, 16), whole[-5:])
    assert np.array_equal(read_end(tmp_path / f"x{suffix}", 40, 16), whole)


@pytest.mark.parametrize(("fps", "expected"), [(32, [3, 5, 7, 9, 11]), (8, [9, 10, 10, 11, 11]), (64, [3, 7, 11])])
def test_the_end_is_taken_at_the_rate_asked_for(tmp_path: Path, fps: int, expected: list[int]):
    write_video(tmp_path / "x.mp4", moving_square(12), fps)
    whole = read_video(tmp_path / "x.mp4").frames
    end = read_end(tmp_path / "x.mp4", 5, 16)
    assert len(end) == len(expected)
    # halfway between two pictures either is as near
    for picture, index in zip(end, expected, strict=True):
        assert min(np.abs(picture.astype(int) - whole[i]).max() for i in (index, index - (fps == 8))) == 0


def test_files_that_are_no_video_have_no_end(tmp_path: Path):
    (tmp_path / "text.mp4").write_text("no video")
    for name in ("text.mp4", "none.mp4"):
        with pytest.raises(ValueError, match="video"):
            read_end(tmp_path / name, 5, 16)
