from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from fewstep.pictures import fit_picture, read_picture

RED, GREEN, BLUE, WHITE = (220, 30, 20), (20, 180, 40), (30, 60, 200), (255, 255, 255)


def quarters(height: int = 40, width: int = 64) -> np.ndarray:
    """Four colours: red and green above, blue and white below."""
    picture = np.empty((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2], picture[: height // 2, width // 2 :] = RED, GREEN
    picture[height // 2 :, : width // 2], picture[height // 2 :, width // 2 :] = BLUE, WHITE
    return picture


def near(a: np.ndarray, b: np.ndarray, tolerance: float = 3) -> bool:
    return a.shape == b.shape and np.abs(a.astype(int) - b).mean() < tolerance


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tif", ".avif", ".ppm"])
def test_common_formats_are_read(tmp_path: Path, suffix: str):
    Image.fromarray(quarters()).save(tmp_path / f"x{suffix}", quality=95)
    assert near(read_picture(tmp_path / f"x{suffix}"), quarters(), 6)


# what a camera stores so that the picture is upright again once its tag is obeyed
LYING = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x, 1),
    7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
    8: lambda x: np.rot90(x, -1),
}


@pytest.mark.parametrize("orientation", LYING)
def test_exif_orientation_is_obeyed(tmp_path: Path, orientation: int):
    image = Image.fromarray(np.ascontiguousarray(LYING[orientation](quarters())))
    image.getexif()[0x0112] = orientation
    image.save(tmp_path / "x.png", exif=image.getexif())
    assert np.array_equal(read_picture(tmp_path / "x.png"), quarters())


def test_transparency_shows_white_paper(tmp_path: Path):
    picture = np.dstack([quarters(), np.full((40, 64), 255, np.uint8)])
    picture[:20, :32, 3], picture[20:, :32, 3] = 0, 127
    Image.fromarray(picture).save(tmp_path / "x.png")
    seen = read_picture(tmp_path / "x.png")
    assert seen[5, 5].tolist() == list(WHITE)
    assert np.abs(seen[30, 5].astype(int) - (np.array(BLUE) + 255) // 2).max() <= 2
    assert seen[5, 50].tolist() == list(GREEN)


def test_palettes_are_read_with_their_transparent_colour(tmp_path: Path):
    paletted = Image.fromarray(quarters()).quantize(4)
    blue = paletted.getpixel((5, 30))
    paletted.save(tmp_path / "x.png", transparency=blue)
    expected = quarters()
    expected[20:, :32] = WHITE
    assert np.array_equal(read_picture(tmp_path / "x.png"), expected)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_grey_keeps_its_range(tmp_path: Path, suffix: str):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, axis=0)
    Image.fromarray(ramp).save(tmp_path / f"x{suffix}")
    expected = np.arange(256)[None, :, None].repeat(4, axis=0).repeat(3, axis=2)
    assert np.array_equal(read_picture(tmp_path / f"x{suffix}"), expected)


def png_of_16_bits(height: int, width: int, data: bytes) -> bytes:
    """A file that PIL cannot write: colour of 16 bits."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = part(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + part(b"IDAT", zlib.compress(data)) + part(b"IEND", b"")


def test_16_bit_colour_is_read(tmp_path: Path):
    row = b"\0" + b"".join(struct.pack(">3H", 65535, 32768, 257 * column) for column in range(8))
    (tmp_path / "x.png").write_bytes(png_of_16_bits(8, 8, row * 8))
    assert read_picture(tmp_path / "x.png")[3, 5].tolist() == [255, 128, 5]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "CMYK", "YCbCr"])
def test_other_modes_look_as_pil_shows_them(tmp_path: Path, mode: str):
    image = Image.fromarray(quarters()).convert(mode)
    suffix = ".jpg" if mode in ("CMYK", "YCbCr") else ".png"
    image.save(tmp_path / f"x{suffix}", quality=95)
    assert near(read_picture(tmp_path / f"x{suffix}"), np.asarray(image.convert("RGB")), 6)


def test_a_colour_profile_is_applied_and_a_broken_one_ignored(tmp_path: Path):
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    Image.fromarray(quarters()).save(tmp_path / "same.png", icc_profile=lab.tobytes())
    assert near(read_picture(tmp_path / "same.png"), quarters(), 1)
    swapped = bytearray(lab.tobytes())
    red, blue = swapped.find(b"rXYZ"), swapped.find(b"bXYZ")
    swapped[red : red + 4], swapped[blue : blue + 4] = b"bXYZ", b"rXYZ"
    Image.fromarray(quarters()).save(tmp_path / "swapped.png", icc_profile=bytes(swapped))
    red_seen_blue = read_picture(tmp_path / "swapped.png")[5, 5]
    assert red_seen_blue[2] > 150 > red_seen_blue[0]
    Image.fromarray(quarters()).save(tmp_path / "broken.png", icc_profile=b"no profile")
    assert np.array_equal(read_picture(tmp_path / "broken.png"), quarters())


def test_an_animation_gives_its_first_frame(tmp_path: Path):
    pictures = [Image.fromarray(quarters()), Image.fromarray(quarters()[::-1])]
    pictures[0].save(tmp_path / "x.gif", save_all=True, append_images=pictures[1:])
    assert near(read_picture(tmp_path / "x.gif"), quarters(), 6)


@pytest.mark.parametrize(("height", "width"), [(32, 48), (48, 32), (16, 16), (480, 832), (40, 64)])
def test_a_picture_is_scaled_evenly_and_cropped_about_its_middle(height: int, width: int):
    seen = fit_picture(quarters(), height, width)
    assert seen.shape == (height, width, 3)
    # the colours still meet in the middle, so nothing was stretched to one side or cropped off centre
    for y, x, colour in ((0, 0, RED), (0, -1, GREEN), (-1, 0, BLUE), (-1, -1, WHITE)):
        assert np.abs(seen[y, x].astype(int) - colour).max() <= 3
    assert np.abs(seen[height * 3 // 8, width * 3 // 8].astype(int) - RED).max() <= 12
    circle = np.zeros((200, 100, 3), np.uint8)
    circle[90:110, 40:60] = 255
    rows, columns = np.nonzero(fit_picture(circle, height, width)[..., 0] > 127)
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), rel=0.02, abs=1.5)


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1)])
def test_tiny_and_thin_pictures_fill_the_frame(size: tuple[int, int]):
    assert np.array_equal(fit_picture(np.full((*size, 3), RED, np.uint8), 32, 48), np.full((32, 48, 3), RED, np.uint8))


def test_pil_pictures_and_arrays_are_taken_as_they_are():
    assert np.array_equal(read_picture(Image.fromarray(quarters())), quarters())
    assert np.array_equal(read_picture(quarters()), quarters())


def heic() -> bytes:
    return struct.pack(">I", 24) + b"ftypheic" + bytes(12) + bytes(100)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "not a file"),
        (b"", "save it as PNG"),
        (b"no picture", "save it as PNG"),
        (heic(), "HEIC"),
        ("half png", "save it again"),
        ("half jpg", "save it again"),
        ("float", "real numbers"),
        ("int", "values reach"),
        ("bomb", "too many pixels"),
    ],
)
def test_files_that_are_no_picture_are_one_clear_error(tmp_path: Path, content: bytes | str | None, message: str):
    path = tmp_path / "x.png"
    if content in ("half png", "half jpg"):
        whole = io.BytesIO()
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(whole, "PNG" if content == "half png" else "JPEG")
        path.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    elif content in ("float", "int"):
        values = np.linspace(-5, 100_000, 64).reshape(8, 8).astype(np.float32 if content == "float" else np.int32)
        Image.fromarray(values).save(path, "TIFF")
    elif content == "bomb":
        path.write_bytes(png_of_16_bits(20_000, 20_000, b""))
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_picture(path)
    assert "x.png" in str(caught.value)


@pytest.mark.parametrize("array", [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)])
def test_arrays_that_are_no_picture_are_refused(array: np.ndarray):
    with pytest.raises(ValueError, match="uint8 array"):
        read_picture(array)
