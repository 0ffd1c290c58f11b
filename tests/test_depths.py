"""The depth of a file is what its head says: no width, offset or compression looks like another."""

import io
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from defectgan.errors import DataError
from defectgan.heads import probe
from defectgan.images import read_hashed, read_picture
from tests.conftest import spoil

Pixels = np.ndarray[Any, Any]
WIDTHS = range(1, 2201)


def bmp(bits: int, width: int) -> tuple[bytes, Pixels]:
    """A BMP file of two rows, written by hand, and its pixels [2, W] or [2, W, 3]."""
    rng = np.random.default_rng([bits, width])
    size = -(-width * bits // 32) * 4
    colours = 2**bits if bits <= 8 else 0
    ramp = [value * 255 // max(1, colours - 1) for value in range(colours)]
    palette = b"".join(bytes((value, value, value, 0)) for value in ramp)
    offset = 54 + len(palette)
    if bits == 24:
        pixels = rng.integers(0, 256, (2, width, 3), dtype=np.uint8)
        rows = [row[:, ::-1].tobytes() for row in pixels]
    else:
        values = rng.integers(0, colours, (2, width), dtype=np.uint8)
        pixels = np.array(ramp, np.uint8)[values]
        rows = [row.tobytes() if bits == 8 else np.packbits(row).tobytes() for row in values]
    body = b"".join(row.ljust(size, b"\0") for row in rows[::-1])
    head = struct.pack("<2sIHHI", b"BM", offset + len(body), 0, 0, offset)
    info = struct.pack("<IiiHHIIiiII", 40, width, 2, 1, bits, 0, len(body), 0, 0, colours, 0)
    return head + info + palette + body, pixels


@pytest.mark.parametrize("bits", [1, 8, 24])
def test_a_bmp_of_any_width_gives_its_pixels(bits: int) -> None:
    path = Path("camera.bmp")
    for width in WIDTHS:
        data, pixels = bmp(bits, width)
        read = read_picture(path, data).pixels
        assert read.dtype == np.uint8, width
        assert np.array_equal(read.squeeze(2) if bits < 24 else read, pixels), width


def test_a_bmp_with_a_palette_of_colours_of_any_width_gives_them(tmp_path: Path) -> None:
    for width in (159, 160, 161, 1600, 1616, 2160):
        pixels = np.random.default_rng(width).integers(0, 2, (2, width, 3), dtype=np.uint8) * 255
        image = Image.fromarray(pixels).convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
        image.save(tmp_path / "p.bmp")
        assert np.array_equal(read_picture(tmp_path / "p.bmp").pixels, pixels)
        assert probe(tmp_path / "p.bmp")[:4] == (width, 2, 3, 8)


PILLOW = ("raw", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits", "lzma")
OPENCV = {"none": 1, "lzw": 5, "deflate": 32946, "adobe": 8, "packbits": 32773}
TIFFFILE = (None, "zlib", "lzma")
SHAPES = ((), (3,))


def random_image(i: int, dtype: type, shape: tuple[int, ...]) -> Pixels:
    rng = np.random.default_rng([i, len(shape)])
    high, wide = rng.integers(1, 60, 2)
    most = np.iinfo(dtype).max
    return rng.integers(0, most, (high, wide, *shape), dtype=dtype, endpoint=True)


def gray_or_colour(read: Pixels) -> Pixels:
    return read[..., 0] if read.shape[2] == 1 else read


@pytest.mark.parametrize("compression", PILLOW)
@pytest.mark.parametrize("shape", SHAPES)
def test_each_tiff_of_pillow_is_read_as_opencv_reads_it(
    compression: str, shape: tuple[int, ...]
) -> None:
    for i in range(100):
        pixels, file = random_image(i, np.uint8, shape), io.BytesIO()
        Image.fromarray(pixels).save(file, "TIFF", compression=compression)
        data = file.getvalue()
        ours = gray_or_colour(read_picture(Path("x.tif"), data).pixels)
        assert np.array_equal(ours, pixels), i
        if compression != "lzma":  # OpenCV's library has none
            theirs = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
            assert theirs is not None
            assert np.array_equal(ours, theirs[..., ::-1] if shape else theirs), i


@pytest.mark.parametrize("compression", OPENCV.values(), ids=OPENCV)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", SHAPES)
def test_each_tiff_of_opencv_gives_its_pixels_in_their_depth(
    compression: int, dtype: type, shape: tuple[int, ...]
) -> None:
    for i in range(100):
        pixels = random_image(i, dtype, shape)
        options = [cv2.IMWRITE_TIFF_COMPRESSION, compression]
        done, data = cv2.imencode(".tif", pixels[..., ::-1] if shape else pixels, options)
        assert done
        ours = gray_or_colour(read_picture(Path("x.tif"), data.tobytes()).pixels)
        assert ours.dtype == dtype and np.array_equal(ours, pixels), i


@pytest.mark.parametrize("compression", TIFFFILE)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", SHAPES)
def test_each_tiff_of_tifffile_gives_its_pixels_in_their_depth(
    compression: str | None, dtype: type, shape: tuple[int, ...], tmp_path: Path
) -> None:
    path = tmp_path / "x.tif"
    for i in range(100):
        pixels = random_image(i, dtype, shape)
        photometric = "rgb" if shape else "minisblack"
        options: dict[str, Any] = {"photometric": photometric, "compression": compression}
        tifffile.imwrite(path, pixels, predictor=bool(compression) and i % 2 == 0, **options)
        ours = gray_or_colour(read_picture(path).pixels)
        assert ours.dtype == dtype and np.array_equal(ours, pixels), i
        assert np.array_equal(ours, tifffile.imread(path)), i
        assert probe(path)[:4] == (*pixels.shape[1::-1], 3 if shape else 1, ours.itemsize * 8), i


def test_half_floats_are_read_exactly(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).normal(0, 9, (7, 5)).astype(np.float16)
    for i, compression in enumerate((None, "zlib")):
        path = tmp_path / f"{i}.tif"
        tifffile.imwrite(path, pixels, compression=compression)
        picture, _ = read_hashed(path)
        assert picture.pixels.dtype == np.float32
        assert np.array_equal(picture.pixels[..., 0], pixels.astype(np.float32))
        assert probe(path)[:4] == (5, 7, 1, 32)


@pytest.mark.parametrize(
    ("dtype", "channels", "said"),
    [
        ("float64", 1, "64-bit floating point"),
        ("float32", 3, "32-bit floating point in 3 channels"),
        ("float16", 3, "16-bit floating point in 3 channels"),
        ("int32", 1, "32-bit signed integers"),
        ("uint32", 1, "32-bit unsigned integers"),
        ("int16", 1, "16-bit signed integers"),
        ("int8", 1, "8-bit signed integers"),
        ("uint32", 3, "32-bit unsigned integers in 3 channels"),
    ],
)
def test_depths_that_would_lose_bits_are_refused_by_name(
    dtype: str, channels: int, said: str, tmp_path: Path
) -> None:
    pixels = np.ones((6, 9) if channels == 1 else (6, 9, channels), dtype)
    tifffile.imwrite(tmp_path / "x.tif", pixels, photometric="rgb" if channels > 1 else None)
    for look in (probe, read_picture):
        with pytest.raises(DataError, match=rf"x\.tif holds {said}; expected 8- or 16-bit"):
            look(tmp_path / "x.tif")


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_tiff_held_sideways_is_upright_in_size_and_pixels(
    turn: int, dtype: type, shape: tuple[int, ...], tmp_path: Path
) -> None:
    if shape and dtype is np.float16:
        pytest.skip("refused by name")
    size = (3, 5, 3) if shape else (3, 5)
    stored: NDArray[Any] = np.arange(math.prod(size)).reshape(size).astype(dtype)
    photometric = "rgb" if shape else "minisblack"
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, stored, photometric=photometric, extratags=[(274, "H", 1, turn, True)])
    expected = stored.swapaxes(0, 1) if turn > 4 else stored
    expected = expected[::-1] if turn in (3, 4, 7, 8) else expected
    expected = expected[:, ::-1] if turn in (2, 3, 6, 7) else expected
    assert np.array_equal(gray_or_colour(read_picture(path).pixels), expected)
    header = probe(path)
    assert header[:2] == expected.shape[1::-1] and header.turn == turn


def test_sixteen_bit_colour_of_a_png_held_sideways_is_upright(tmp_path: Path) -> None:
    stored = random_image(3, np.uint16, (3,))
    done, data = cv2.imencode(".png", stored[..., ::-1])
    exif = Image.Exif()
    exif[0x0112] = 6
    chunk = exif.tobytes().removeprefix(b"Exif\0\0")
    made = struct.pack(">I", len(chunk)) + b"eXIf" + chunk
    made += struct.pack(">I", zlib.crc32(b"eXIf" + chunk))
    (tmp_path / "x.png").write_bytes(data.tobytes()[:33] + made + data.tobytes()[33:])
    assert done
    picture = read_picture(tmp_path / "x.png")
    assert np.array_equal(picture.pixels, stored.swapaxes(0, 1)[:, ::-1])


@pytest.mark.parametrize("name", ["x.jpg", "x.png"])
def test_bytes_behind_the_end_of_an_image_do_not_cut_it_short(name: str, tmp_path: Path) -> None:
    pixels = random_image(1, np.uint8, (3,))
    path = tmp_path / name
    Image.fromarray(pixels).save(path)
    before = read_picture(path).pixels
    path.write_bytes(path.read_bytes() + b"a film of the same moment" * 5000)
    assert probe(path).width == pixels.shape[1]
    assert np.array_equal(read_picture(path).pixels, before)
    path.write_bytes(path.read_bytes()[: len(path.read_bytes()) - 125000 - 40] + b"\0" * 9000)
    with pytest.raises(DataError, match="is cut short"):
        probe(path)


def test_white_is_zero_is_heeded_in_sixteen_bits(tmp_path: Path) -> None:
    pixels = random_image(2, np.uint16, ())
    tifffile.imwrite(tmp_path / "x.tif", pixels, photometric="miniswhite")
    assert np.array_equal(read_picture(tmp_path / "x.tif").pixels[..., 0], 65535 - pixels)


def test_a_pointer_of_git_lfs_is_named(tmp_path: Path) -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    (tmp_path / "x.png").write_text(text)
    for look in (probe, read_picture):
        with pytest.raises(DataError, match=r"x\.png is a pointer of Git LFS.*git lfs pull"):
            look(tmp_path / "x.png")


def test_the_limit_of_pixels_is_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (2000, 1000)).save(tmp_path / "x.png")
    assert probe(tmp_path / "x.png").width == 2000
    monkeypatch.setenv("DEFECTGAN_MAX_MEGAPIXELS", "1.5")
    with pytest.raises(DataError, match=r"2000 x 1000, more than 1\.5 megapixels"):
        read_picture(tmp_path / "x.png")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("kind", ["x.bmp", "x.tif", "x-lzw.tif", "x-strips.tif", "x-tiles.tif"])
def test_an_image_that_is_cut_short_is_named_by_its_head(kind: str, tmp_path: Path) -> None:
    path, pixels = tmp_path / kind, random_image(9, np.uint8, (3,))
    options: dict[str, dict[str, Any]] = {
        "x-strips.tif": {"rowsperstrip": 7},
        "x-tiles.tif": {"tile": (16, 16)},
    }
    if kind in options:
        tifffile.imwrite(path, pixels, photometric="rgb", **options[kind])
    else:
        lzw = {"compression": "tiff_lzw"} if "lzw" in kind else {}
        Image.fromarray(pixels).save(path, **lzw)
    probe(path)
    data = path.read_bytes()
    kept = len(data) - 40 if path.suffix == ".bmp" else len(data) * 2 // 3
    path.write_bytes(data[:kept])
    with pytest.raises(DataError):
        probe(path)


def test_a_last_strip_that_is_shorter_than_its_length_says_cuts_nothing_short(
    tmp_path: Path,
) -> None:
    path, pixels = tmp_path / "x.tif", random_image(9, np.uint8, ())
    tifffile.imwrite(path, pixels, rowsperstrip=pixels.shape[0] - 3)
    with tifffile.TiffFile(path, mode="r+") as file:
        tag = file.pages.first.tags["StripByteCounts"]
        tag.overwrite([tag.value[0], tag.value[0]])
    assert probe(path).height == pixels.shape[0]


def test_a_damaged_middle_is_named(tmp_path: Path) -> None:
    Image.fromarray(random_image(9, np.uint8, (3,))).save(tmp_path / "x.png")
    spoil(tmp_path / "x.png")
    with pytest.raises(DataError, match=r"x\.png is damaged"):
        read_picture(tmp_path / "x.png")
