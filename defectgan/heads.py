"""What the head of an image file says, without decoding the image: its size, upright, its channels
and the depth of their values, and how it is to be decoded so that no bit is lost.
"""

import io
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, UnidentifiedImageError

from defectgan.errors import DataError, SettingError

EXTENSIONS = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff", ".webp"}
)
EXPECTED = ".png, .jpg, .bmp, .tif or .webp"

# The EXIF tag that says how the camera was held, and its values that swap width and height.
ORIENTATION = 0x0112
SIDEWAYS = (5, 6, 7, 8)

# What the last bytes of a whole file hold; some writers pad behind it.
_ENDS = {"PNG": b"IEND", "JPEG": b"\xff\xd9"}
TAIL = 4096
_SCAN = 0xDA

# Images of more pixels are refused: a small file may claim to be one that fills all memory.
MAX_MEGAPIXELS = "DEFECTGAN_MAX_MEGAPIXELS"
MEGAPIXELS = 500

UNREADABLE = (
    UnidentifiedImageError,
    OSError,
    SyntaxError,
    ValueError,
    struct.error,
    Image.DecompressionBombError,
)

# In the place of a Pillow mode: OpenCV decodes it, or tifffile.
DEEP, HALF = "deep", "half"

_BITS = {"I;16": 16, DEEP: 16, "F": 32, HALF: 32}
_SINGLE = ("L", "LA", "I;16", "F", HALF)
_GRAY = {"1": "L", "L": "L", "LA": "LA"}
_COLOUR = {"RGB": "RGB", "RGBA": "RGBA", "P": "RGB", "PA": "RGBA", "YCbCr": "RGB", "CMYK": "RGB"}

# Tags of a TIFF file, and what SAMPLE_FORMAT says.
WIDTH, HEIGHT, BITS, PHOTOMETRIC, SAMPLE_FORMAT = 256, 257, 258, 262, 339
COMPRESSION, STRIPS, STRIP_LENGTHS, TILES, TILE_LENGTHS = 259, 273, 279, 324, 325
SIGNED, FLOAT = 2, 3
WHITE_IS_ZERO = 0
_FORMATS = {1: "unsigned integers", SIGNED: "signed integers", FLOAT: "floating point"}

_POINTER = b"version https://git-lfs"
_WANTED = (
    "expected 8- or 16-bit gray or colour, palette, or 16- or 32-bit floating-point gray: convert "
    "it first"
)

# Pillow's own limit, which is no setting, stands below; ``opened`` holds every file to ours.
Image.MAX_IMAGE_PIXELS = None


class Header(NamedTuple):
    """What the head of an image file says, upright; ``channels`` is 1 for gray, 3 for colour,
    ``bits`` are those of a channel, ``turn`` is the EXIF orientation: 1 where the file holds the
    image upright already.
    """

    width: int
    height: int
    channels: int
    bits: int
    pages: int
    turn: int = 1


class Decoding(NamedTuple):
    """How a file is decoded: the Pillow ``mode``, DEEP or HALF; its ``header``; whether 0 is
    ``white_is_zero``.
    """

    mode: str
    header: Header
    white_is_zero: bool = False


def is_image_name(name: str) -> bool:
    """Whether a file of this name would be read."""
    return Path(name).suffix.lower() in EXTENSIONS


def probe(path: Path) -> Header:
    """Look at a file without decoding it: its head, and whether its end is there.

    Raises:
        DataError: if the file is missing, no image, of a kind that is not supported, or cut short.
    """
    half = half_float(path)
    if half is not None:
        return half.header
    with opened(path) as image:
        header = decoding(path, image).header
        end = _ENDS.get(image.format or "")
        needed = _bytes_needed(image)
    if needed > path.stat().st_size or (
        end is not None and not _ends_with(path, end) and not _ends_before(path.read_bytes(), end)
    ):
        raise DataError(f"{path} is cut short: its end is missing; replace or remove it")
    return header


def _bytes_needed(image: Image.Image) -> int:
    """How long the file of an opened BMP or TIFF image is at least, as it says where its pixels
    are.
    """
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    for offsets, lengths in ((STRIPS, STRIP_LENGTHS), (TILES, TILE_LENGTHS)):
        if offsets in tags and lengths in tags:
            start, length = max(zip(_tuple(tags[offsets]), _tuple(tags[lengths]), strict=False))
            if offsets == STRIPS and tags.get(COMPRESSION, 1) == 1:
                # Some say the length of a whole strip where the last one is shorter.
                bits = sum(_tuple(tags.get(BITS, 1))) * tags[WIDTH]
                before = sum(_tuple(tags[lengths])) - length
                length = min(length, max(1, -(-bits // 8) * tags[HEIGHT] - before))
            return int(start + length)
    tiles = getattr(image, "tile", None) if image.format in ("BMP", "DIB") else None
    if not tiles or tiles[0][0] != "raw":
        return 0
    return int(tiles[0][2]) + int(tiles[0][3][1]) * image.height


def _ends_with(path: Path, end: bytes) -> bool:
    with path.open("rb") as file:
        file.seek(-min(path.stat().st_size, TAIL), os.SEEK_END)
        return end in file.read()


def _ends_before(data: bytes, end: bytes) -> bool:
    """Whether the end of a PNG or JPEG file comes anywhere: some write behind it what is theirs."""
    png, place = end == _ENDS["PNG"], 8 if end == _ENDS["PNG"] else 2
    while place + 8 <= len(data):
        if png:
            kind, length = data[place + 4 : place + 8], int.from_bytes(data[place : place + 4])
            place += 12 + length
            if kind == end:
                return place <= len(data)
        elif data[place + 1] == _SCAN:  # within it, no two bytes look like the end
            return data.find(end, place) > 0
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4])
    return False


def opened(path: Path, data: bytes | None = None) -> Image.Image:
    """A file with its head read.

    Raises:
        DataError: if it is missing, empty, no image, or larger than the limit.
    """
    try:
        if path.is_dir():
            raise DataError(f"{path} is a folder; expected a {EXPECTED} image")
        if data == b"" or (data is None and path.exists() and path.stat().st_size == 0):
            raise DataError(f"{path} is empty (0 bytes); replace or remove it")
        image = Image.open(path if data is None else io.BytesIO(data))
    except UNREADABLE as error:
        raise _no_image(path, data, error) from error
    width, height = image.size
    if width * height > _most_pixels():
        image.close()
        raise DataError(
            f"{path} is {width} x {height}, more than {_most_pixels() / 1e6:g} megapixels: cut it "
            f"into parts, or raise the limit ({MAX_MEGAPIXELS})"
        )
    return image


def _most_pixels() -> int:
    text = os.environ.get(MAX_MEGAPIXELS, str(MEGAPIXELS))
    try:
        limit = float(text)
        if not limit > 0:
            raise ValueError
        return int(limit * 1e6)
    except (ValueError, OverflowError) as error:
        raise SettingError(
            f"{MAX_MEGAPIXELS} is {text}: expected a number of megapixels, such as {MEGAPIXELS}"
        ) from error


def _no_image(path: Path, data: bytes | None, error: Exception) -> DataError:
    """What a file is that Pillow cannot open."""
    if not isinstance(error, UnidentifiedImageError):
        return DataError(f"cannot read {path}: {reason(error)}; expected a {EXPECTED} image")
    begin = _begin(path) if data is None else data[:64]
    if begin.startswith(_POINTER):
        return DataError(
            f"{path} is a pointer of Git LFS, not the image: fetch the images with git lfs pull"
        )
    if (kind := _kind_of_tiff(path, data)) is not None:
        return DataError(f"{path} holds {kind}; {_WANTED}")
    return DataError(
        f"cannot read {path}: not an image that is known here; expected a {EXPECTED} image"
    )


def _begin(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(64)


def reason(error: Exception) -> str:
    """What an error of reading says."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def decoding(path: Path, image: Image.Image) -> Decoding:
    """How an opened file is to be decoded so that no bit is lost.

    Raises:
        DataError: if that cannot be.
    """
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    mode = _target_mode(path, image, tags)
    # The method of a PNG file would decode the whole image to look behind it.
    turn = Image.Image.getexif(image).get(ORIENTATION, 1)
    # Of a TIFF file Pillow says the upright size, by version before or after decoding.
    width, height = tags.get(WIDTH, image.width), tags.get(HEIGHT, image.height)
    if turn in SIDEWAYS:
        width, height = height, width
    header = Header(
        int(width),
        int(height),
        1 if mode in _SINGLE else 3,
        _BITS.get(mode, 8),
        getattr(image, "n_frames", 1),
        turn if turn in range(1, 9) else 1,
    )
    return Decoding(mode, header, tags.get(PHOTOMETRIC) == WHITE_IS_ZERO)


def _target_mode(path: Path, image: Image.Image, tags: Mapping[int, Any]) -> str:
    """The mode to decode into, so that no bit is lost; DEEP where Pillow would lose some."""
    kind = _tuple(tags.get(SAMPLE_FORMAT, 1))[0]
    bits = _bits(image, tags)
    if kind == SIGNED or (image.mode == "I" and tags):
        raise DataError(f"{path} holds {_described(bits, kind, len(image.getbands()))}; {_WANTED}")
    if image.mode.startswith("I;16"):
        return "I;16"
    if image.mode == "F":
        return "F"
    # Pillow decodes 16-bit colour files to 8 bits without a word.
    if image.mode in _COLOUR and bits == 16:
        return DEEP
    if image.mode in _COLOUR:
        return "RGBA" if "transparency" in image.info else _COLOUR[image.mode]
    if image.mode in _GRAY and bits <= 8:
        return _GRAY[image.mode]
    raise DataError(
        f"{path} is of mode {image.mode}{' with 16 bits a channel' if bits == 16 else ''}; "
        f"{_WANTED}"
    )


def _bits(image: Image.Image, tags: Mapping[int, Any]) -> int:
    """Those of a channel, as far as a file says it and Pillow's mode does not."""
    if tags:
        return max(_tuple(tags.get(BITS, 1)))
    # Of a PNG file the decoder's argument is the mode alone, of others it has lengths and offsets.
    tiles = getattr(image, "tile", None)
    deep = image.format == "PNG" and tiles and str(tiles[0][3]).partition(";")[2].startswith("16")
    return 16 if deep else 8


def _tuple(value: Any) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)


def _described(bits: int, kind: int, channels: int) -> str:
    several = "" if channels == 1 else f" in {channels} channels"
    return f"{bits}-bit {_FORMATS.get(kind, 'values')}{several}"


def half_float(path: Path, data: bytes | None = None) -> Decoding | None:
    """How a TIFF file of 16-bit floating-point gray is decoded, which Pillow does not know; None
    for any other file.
    """
    if path.suffix.lower() not in (".tif", ".tiff"):
        return None
    page = _tiff_page(path, data)
    if page is None or page["kind"] != FLOAT or page["bits"] != 16 or page["channels"] != 1:
        return None
    height, width = page["height"], page["width"]
    if width * height > _most_pixels():
        return None
    if page["turn"] in SIDEWAYS:
        width, height = height, width
    header = Header(width, height, 1, 32, page["pages"], page["turn"])
    return Decoding(HALF, header, page["photometric"] == WHITE_IS_ZERO)


def _kind_of_tiff(path: Path, data: bytes | None) -> str | None:
    page = _tiff_page(path, data)
    if page is None:
        return None
    return _described(page["bits"], page["kind"], page["channels"])


def _tiff_page(path: Path, data: bytes | None) -> dict[str, int] | None:
    """What the first page of a TIFF file says of itself; None where it is none."""
    import tifffile

    try:
        with tifffile.TiffFile(path if data is None else io.BytesIO(data)) as file:
            page, pages = file.pages.first, len(file.pages)
            turn = page.tags.get(ORIENTATION)
            return {
                "width": page.imagewidth,
                "height": page.imagelength,
                "bits": page.bitspersample,
                "kind": int(page.sampleformat),
                "channels": page.samplesperpixel,
                "photometric": int(page.photometric),
                "turn": 1 if turn is None or turn.value not in range(1, 9) else int(turn.value),
                "pages": pages,
            }
    except (*UNREADABLE, tifffile.TiffFileError, KeyError, IndexError):
        return None
