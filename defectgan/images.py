"""Image files: the only module that reads or writes one.

H x W pixels, C channels (1 gray, 3 RGB). Pixels are uint8, uint16 or float32, as the file has them;
networks see [-1, 1].
"""

import io
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from defectgan.errors import DataError
from defectgan.files import digest, write_atomically
from defectgan.heads import (
    DEEP,
    ORIENTATION,
    SIDEWAYS,
    UNREADABLE,
    Decoding,
    decoding,
    half_float,
    opened,
    reason,
)

T = TypeVar("T")
P = TypeVar("P")

LUMA = (0.299, 0.587, 0.114)

# How a TIFF file begins.
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PNG = b"\x89PNG\r\n\x1a\n"
# Pixels that are converted at once.
STRIP = 2**22
# An image of more pixels is resized in strips.
LARGE = 2**24

_ONE_LARGE = threading.Lock()

# What so many bits a channel are decoded to.
DEPTHS: Mapping[int, np.dtype[Any]] = {
    8: np.dtype(np.uint8),
    16: np.dtype(np.uint16),
    32: np.dtype(np.float32),
}


class Levels(NamedTuple):
    """The pixel values that are -1 and 1 to the networks."""

    black: float
    white: float


@dataclass(frozen=True)
class Picture:
    """A decoded image.

    ``pixels`` [H, W, C], uint8, uint16 or float32; ``alpha`` [H, W] of the same depth, kept aside
    and put back; ``icc`` the colour profile.
    """

    pixels: NDArray[Any]
    alpha: NDArray[Any] | None = None
    icc: bytes | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def full(self) -> Levels:
        """The levels of the whole range that a pixel can have; 0 to 1 for floating point."""
        return full_levels(self.pixels.dtype)


def full_levels(depth: np.dtype[Any]) -> Levels:
    """The levels of the whole range of a type; 0 to 1 for floating point."""
    return Levels(0, 1 if depth.kind == "f" else float(np.iinfo(depth).max))


def read_hashed(path: Path) -> tuple[Picture, str]:
    """As ``read_picture``, and the SHA-256 of the very bytes that were decoded.

    Raises:
        DataError: as ``read_picture``.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}") from error
    return read_picture(path, data), digest(data)


def read_picture(path: Path, data: bytes | None = None) -> Picture:
    """Decode an image, upright (EXIF orientation applied); of several pages the first.

    Args:
        path: the file.
        data: its content, where that was read already.

    Raises:
        DataError: if the file is missing, damaged, or of a kind that would lose bits.
    """
    half = half_float(path, data)
    if half is not None:
        array, icc = _by_tifffile(path, data), None
    else:
        with opened(path, data) as image:
            how, icc = decoding(path, image), image.info.get("icc_profile")
            try:
                array = _decoded(path, data, image, how)
            except UNREADABLE as error:
                raise DataError(
                    f"{path} is damaged: {reason(error)}; replace or remove it"
                ) from error
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(f"{path} holds values that are not finite: replace or remove it")
    if array.ndim == 2:
        return Picture(array[..., None], icc=icc)
    if array.shape[2] in (2, 4):
        return Picture(array[..., :-1], alpha=array[..., -1], icc=icc)
    return Picture(array, icc=icc)


@contextmanager
def decoded(path: Path) -> Iterator[Picture]:
    """As ``read_picture``, for as long as it is looked at: of large images one at a time, whatever
    threads look, so that they do not fill the memory together.

    Raises:
        DataError: as ``read_picture``.
    """
    with opened(path) as image:
        large = image.width * image.height > LARGE
    with _ONE_LARGE if large else nullcontext():
        yield read_picture(path)


def brightest(pixels: NDArray[Any]) -> NDArray[Any]:
    """The largest value of each pixel [H, W] of an image [H, W, C]; no copy of one channel."""
    return np.asarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels.max(axis=2))


def strips(pixels: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """An image [H, W, ...] in parts of whole rows."""
    rows = max(1, STRIP // max(1, pixels.shape[1]))
    for top in range(0, len(pixels), rows):
        yield pixels[top : top + rows]


def different(pixels: NDArray[Any], most: int | None = None) -> NDArray[Any]:
    """The different values of an array, sorted; some more than ``most`` where there are more."""
    values = pixels[:0].ravel()
    for part in strips(pixels):
        values = np.union1d(values, part)
        if most is not None and len(values) > most:
            break
    return values


def _decoded(path: Path, data: bytes | None, image: Image.Image, how: Decoding) -> NDArray[Any]:
    """The pixels of an opened file, upright, [H, W] or [H, W, C]."""
    turn = how.header.turn
    if how.mode == DEEP:
        content = path.read_bytes() if data is None else data
        return turned(_deep(path, content), turn)
    if image.format == "TIFF" and turn != 1:  # by version Pillow turns it, not always well
        content = path.read_bytes() if data is None else data
        with opened(path, _unturned(content).tobytes()) as lying:
            array = turned(_by_pillow(lying, how.mode), turn)
    else:
        array = _by_pillow(image, how.mode)
    white_is_zero = how.mode == "I;16" and how.white_is_zero
    return np.uint16(0xFFFF) - array if white_is_zero else array


def _by_pillow(image: Image.Image, mode: str) -> NDArray[Any]:
    """The pixels of an opened file, upright, [H, W] or [H, W, C]. They are taken strip by strip:
    no more is in memory than what Pillow decodes and the result.
    """
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    kept = mode in ("I;16", "F")
    rows = max(1, STRIP // max(1, image.width))
    pixels: NDArray[Any] | None = None
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        strip = image.crop((0, top, image.width, bottom))
        part = np.asarray(strip if kept else strip.convert(mode))
        if mode == "I;16":
            part = part.astype(np.uint16)
        if pixels is None:
            pixels = np.empty((image.height, *part.shape[1:]), part.dtype)
        pixels[top:bottom] = part
    assert pixels is not None
    return pixels


def _by_tifffile(path: Path, data: bytes | None) -> NDArray[np.float32]:
    """16-bit floating-point gray [H, W], upright."""
    import tifffile

    try:
        with tifffile.TiffFile(path if data is None else io.BytesIO(data)) as file:
            page = file.pages.first
            turn = page.tags.get(ORIENTATION)
            array = page.asarray().astype(np.float32)
    except (*UNREADABLE, KeyError) as error:
        raise DataError(
            f"{path} holds 16-bit floating point that cannot be decoded ({reason(error)}): save it "
            "uncompressed or as 32-bit floating point"
        ) from error
    return turned(array, 1 if turn is None else turn.value)


def turned(pixels: NDArray[Any], turn: int) -> NDArray[Any]:
    """Pixels [H, W] or [H, W, C] of a file of this EXIF orientation, upright."""
    if turn in SIDEWAYS:
        pixels = pixels.swapaxes(0, 1)
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def first_sound(
    items: Sequence[T],
    start: int,
    path_of: Callable[[T], Path],
    read: Callable[[T], P],
    damaged: dict[Path, str],
) -> tuple[T, P] | None:
    """The first item, from ``start`` on and round, whose file can be read, and what was read; None
    if there is none. What turns out to be damaged is noted with its reason and not tried again.
    """
    for n in range(len(items)):
        item = items[(start + n) % len(items)]
        path = path_of(item)
        if path not in damaged:
            try:
                return item, read(item)
            except DataError as error:
                damaged[path] = str(error)
    return None


def _deep(path: Path, data: bytes) -> NDArray[np.uint16]:
    """16-bit colour [H, W, 3 or 4] as it lies in the file, which Pillow cannot hold."""
    if data[:4] not in TIFF:
        return _by_opencv(path, data)
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        if page.photometric != tifffile.PHOTOMETRIC.RGB or page.samplesperpixel not in (3, 4):
            kind = tifffile.PHOTOMETRIC(page.photometric).name.lower()
            raise DataError(
                f"{path} holds 16-bit {kind} in {page.samplesperpixel} channels; expected red, "
                "green and blue: convert it first"
            )
        try:
            array = page.asarray()
        except (*UNREADABLE, KeyError):  # of a compression that it does not know
            return _by_opencv(path, data)
        separate = page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
        return np.asarray(np.moveaxis(array, 0, -1) if separate else array, dtype=np.uint16)


def _by_opencv(path: Path, data: bytes) -> NDArray[np.uint16]:
    # Not in a network's way: OpenCV takes a quarter of a second to import.
    import cv2

    _check_png(path, data)
    try:
        array = cv2.imdecode(_unturned(data), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        array = None
    if array is None or array.dtype != np.uint16 or array.ndim != 3:
        raise DataError(
            f"{path} holds 16-bit colours that cannot be decoded: it is damaged or of a rare kind; "
            "save it as PNG or uncompressed TIFF"
        )
    order = [2, 1, 0, 3][: array.shape[2]]
    return np.asarray(array[..., order], dtype=np.uint16)


def _check_png(path: Path, data: bytes) -> None:
    """See whether the parts of a PNG file are whole: OpenCV's decoder writes on the terminal what
    it finds wrong with them.

    Raises:
        DataError: if one is not.
    """
    place = len(PNG)
    while data.startswith(PNG) and data[place + 4 : place + 8] != b"IEND":
        end = place + 12 + int.from_bytes(data[place : place + 4])
        content = memoryview(data)[place + 4 : end - 4]
        if end > len(data) or zlib.crc32(content) != int.from_bytes(data[end - 4 : end]):
            raise DataError(f"{path} is damaged: a part's check sum is wrong; replace or remove it")
        place = end


def _unturned(data: bytes) -> NDArray[np.uint8]:
    """The file as an array; a TIFF file without its orientation, which OpenCV heeds and cannot
    always follow.
    """
    content = np.frombuffer(data, np.uint8)
    if data[:4] in TIFF:
        import tifffile

        with tifffile.TiffFile(io.BytesIO(data)) as file:
            tag = file.pages.first.tags.get(ORIENTATION)
            if tag is not None:
                content = content.copy()
                upright = (1).to_bytes(2, "little" if file.byteorder == "<" else "big")
                content[tag.valueoffset : tag.valueoffset + 2] = np.frombuffer(upright, np.uint8)
    return content


def to_image(picture: Picture) -> Image.Image:
    """The Pillow image of a picture that a PNG can hold, alpha put back."""
    pixels = _with_alpha(picture)
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _with_alpha(picture: Picture) -> NDArray[Any]:
    if picture.alpha is None:
        return picture.pixels
    return np.concatenate([picture.pixels, picture.alpha[..., None]], axis=2)


def suffix_of(picture: Picture) -> str:
    """.png, or .tif for what no PNG of Pillow's can hold: 16-bit colour and floating point."""
    depth = picture.pixels.dtype
    channels = picture.pixels.shape[2] + (picture.alpha is not None)
    return ".tif" if depth.kind == "f" or (depth == np.uint16 and channels > 1) else ".png"


def write_picture(path: Path, picture: Picture) -> None:
    """Write a picture losslessly, whole or not at all; the path ends as ``suffix_of`` says."""
    write_atomically(path, encode(picture))


def encode(picture: Picture) -> bytes:
    """The file that holds a picture losslessly, of the kind that ``suffix_of`` says."""
    if suffix_of(picture) == ".png":
        # Run lengths alone: of photographs less time than a search for repeats, and mostly smaller.
        options: dict[str, Any] = {"compress_type": zlib.Z_RLE}
        if picture.icc:
            options["icc_profile"] = picture.icc
        return to_png(to_image(picture), **options)
    import tifffile

    pixels, file = _with_alpha(picture), io.BytesIO()
    tifffile.imwrite(
        file,
        pixels[..., 0] if pixels.shape[2] == 1 else pixels,
        photometric="minisblack" if pixels.shape[2] == 1 else "rgb",
        extrasamples=["unassalpha"] if picture.alpha is not None else None,
        iccprofile=picture.icc,
        metadata=None,
    )
    return file.getvalue()


def save_png(path: Path, image: Image.Image) -> None:
    """Write a Pillow image as PNG, whole or not at all."""
    write_atomically(path, to_png(image))


def to_png(image: Image.Image, **options: Any) -> bytes:
    """A PNG file of a Pillow image."""
    file = io.BytesIO()
    image.save(file, format="PNG", compress_level=3, **options)
    return file.getvalue()


def to_jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """A JPEG file, in colour and as good as one can be, of an image [H, W, 1 or 3]."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=100, subsampling=0)
    return file.getvalue()


def to_webp(pixels: NDArray[np.uint8], *, side: int, quality: int = 80) -> bytes:
    """A WebP file of an image [H, W, 1, 3 or 4], made smaller where a side is longer than
    ``side``.
    """
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.thumbnail((side, side), Image.Resampling.BOX)
    file = io.BytesIO()
    image.save(file, format="WEBP", quality=quality, method=2)
    return file.getvalue()


def write_mask(path: Path, mask: NDArray[np.uint8]) -> None:
    """Write a mask [H, W] as 8-bit PNG."""
    write_picture(path, Picture(mask[..., None]))


def read_mask(path: Path) -> NDArray[np.uint8]:
    """A mask [H, W], 0..255, whatever mode the file has.

    Raises:
        DataError: if the file is missing or damaged.
    """
    picture = read_picture(path)
    scaled = picture.pixels.max(axis=2) * (255 / picture.full.white)
    return np.asarray(scaled, dtype=np.uint8)


def resize(pixels: NDArray[Any], width: int, height: int) -> NDArray[Any]:
    """Resize [H, W, C] to height x width, bilinear and antialiased; the dtype stays."""
    if pixels.shape[:2] == (height, width):
        return pixels
    planes = [_resize_plane(pixels[..., c], width, height) for c in range(pixels.shape[2])]
    stacked = np.stack(planes, axis=2)
    if np.issubdtype(pixels.dtype, np.integer):
        stacked = stacked.round()
    return stacked.astype(pixels.dtype)


def _resize_plane(plane: NDArray[Any], width: int, height: int) -> NDArray[np.float32]:
    """Resize [H, W]. A large one is brought to its width strip by strip, then to its height: that
    is what Pillow does, but for rounding.
    """
    if plane.size <= LARGE:
        return _resampled(plane, width, height)
    rows = max(1, STRIP // plane.shape[1])
    strips = [
        _resampled(part, width, len(part))
        for part in (plane[top : top + rows] for top in range(0, len(plane), rows))
    ]
    return _resampled(np.concatenate(strips), width, height)


def _resampled(plane: NDArray[Any], width: int, height: int) -> NDArray[np.float32]:
    image = Image.fromarray(plane.astype(np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def as_channels(picture: Picture, channels: int) -> NDArray[Any]:
    """The pixels with 1 (luma) or 3 channels, in the picture's own dtype."""
    pixels = picture.pixels
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=2)
    gray = np.empty((*pixels.shape[:2], 1), pixels.dtype)
    rows = max(1, STRIP // max(1, pixels.shape[1]))
    for top in range(0, len(pixels), rows):
        luma = (pixels[top : top + rows] * np.array(LUMA)).sum(axis=2, keepdims=True)
        gray[top : top + rows] = luma if pixels.dtype.kind == "f" else luma.round()
    return gray


def to_signed(pixels: NDArray[Any], levels: Levels) -> NDArray[np.float32]:
    """Values in [-1, 1]; what lies beyond the levels is clipped."""
    scale = 2 / (levels.white - levels.black)
    signed = (pixels.astype(np.float32) - np.float32(levels.black)) * np.float32(scale) - 1
    return np.asarray(signed.clip(-1, 1), dtype=np.float32)


def between(pixels: NDArray[Any], levels: Levels) -> NDArray[Any]:
    """Pixels whose levels are the whole range of their type, which stays: ``levels`` become its
    ends, and what lies beyond is clipped.
    """
    full = full_levels(pixels.dtype)
    if levels == full and pixels.dtype.kind != "f":
        return pixels
    stretched = (to_signed(pixels, levels) + 1) * np.float32(full.white / 2)
    return stretched if pixels.dtype.kind == "f" else np.rint(stretched).astype(pixels.dtype)


def unit(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Values in [0, 1] from the whole range of a type."""
    if pixels.dtype == np.uint8:
        return pixels * np.float32(1 / 255)
    return np.asarray(pixels / np.float32(full_levels(pixels.dtype).white), dtype=np.float32)


def from_unit(values: NDArray[np.float32], depth: np.dtype[Any]) -> NDArray[Any]:
    """``unit`` undone, to the nearest value of a type."""
    scaled = values * np.float32(full_levels(depth).white)
    return (scaled if depth.kind == "f" else np.rint(scaled)).astype(depth)


def to_bytes(signed: Any) -> NDArray[np.uint8]:
    """[H, W, C] in 0..255 from a tensor or array [C, H, W] in [-1, 1]."""
    array = np.asarray(signed.detach().cpu() if hasattr(signed, "detach") else signed)
    scaled = (array.clip(-1, 1) + 1) * 127.5
    return np.ascontiguousarray(scaled.round().astype(np.uint8).transpose(1, 2, 0))


def tile(images: Iterable[NDArray[np.uint8]], columns: int, *, gap: int = 2) -> Image.Image:
    """A sheet of equally large images [H, W, C], row by row, C = 1 or 3."""
    cells = [np.repeat(i, 3, axis=2) if i.shape[2] == 1 else i for i in images]
    height, width = cells[0].shape[:2]
    rows = -(-len(cells) // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for k, cell in enumerate(cells):
        y, x = (k // columns) * (height + gap), (k % columns) * (width + gap)
        sheet[y : y + height, x : x + width] = cell
    return Image.fromarray(sheet)
