"""Draw synthetic circuit-board tiles, plain or with one defect and its true mask.

    python sample_data/draw.py --out DIR --normal 96 --defects 48 --size 128 --seed 0

Every tile depends on its own seed (set, class, image) alone, so drawing more tiles leaves the
earlier ones as they were. Lengths are in units, pixels of a 128 px tile, or in pitches, cells of
the routing grid; both grow with the tile.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil, cos, pi, sin
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageColor

CLASSES = ("thread", "brushing", "tin", "wound")
SUPERSAMPLING = 4
NOISE = 2.0  # standard deviation of the sensor noise, of 255

Seed: TypeAlias = Sequence[int]
Bytes: TypeAlias = NDArray[np.uint8]
Points: TypeAlias = NDArray[np.floating[Any]]  # [n, 2], x and y
Colour: TypeAlias = Sequence[float]  # red, green, blue of 255
Cell: TypeAlias = tuple[int, int]


def _colours(codes: str) -> list[Colour]:
    return [ImageColor.getrgb(code) for code in codes.split()]


def _mix(a: Colour, b: Colour, share: float) -> Colour:
    return [p + (q - p) * share for p, q in zip(a, b, strict=True)]


BLACK, WHITE = _colours("#000000 #ffffff")
SILVER, GOLD = _colours("#babdc0 #d6b25c")
SOLDER_MASKS = _colours("#125830 #1e703a #0c422e #3a762c #143480 #104e8e #8a1a20 #1e2022 #d0d0c6")
SOLDER_MASK_SHARES = (0.18, 0.16, 0.12, 0.08, 0.14, 0.08, 0.10, 0.11, 0.03)
FIBRES = _colours("#f0ecde #e2d0aa #14121a #c4283c #285ac8 #ecc43c #e678aa")
SCRATCHES = _colours("#e8e8e2 #ecd6b4 #d6e0e8 #e0aa78 #0e0e10")
LAMINATES = _colours("#100c0a #2c1e14 #483220")
TORN_EDGES = _colours("#cebc8c #aa8c5c #dcd6be")
HEADINGS: tuple[Cell, ...] = ((1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1))
LABELS = ("R1", "R27", "C4", "C18", "U3", "Q2", "J5", "D6", "L2", "TP9", "GND", "+5V", "REV B")


class Pad(NamedTuple):
    """Centre and extent in cells."""

    x: float
    y: float
    w: float
    h: float
    is_round: bool = False
    is_drilled: bool = False


class Track(NamedTuple):
    cells: list[Cell]
    width: float


@dataclass
class Layout:
    """Copper on a square grid of cells; `is_taken[x, y]` where there is some already."""

    is_taken: NDArray[np.bool_]
    footprints: list[list[Pad]] = field(default_factory=list)
    tracks: list[Track] = field(default_factory=list)
    vias: list[Pad] = field(default_factory=list)

    def is_free(self, x: int, y: int) -> bool:
        side = len(self.is_taken)
        return 0 <= x < side and 0 <= y < side and not self.is_taken[x, y]


class Palette(NamedTuple):
    solder_mask: Colour
    trace: Colour
    groove: Colour
    finish: Colour
    silk: Colour


def _palette(rng: Generator) -> Palette:
    ground = SOLDER_MASKS[rng.choice(len(SOLDER_MASKS), p=SOLDER_MASK_SHARES)]
    solder_mask = [max(channel + rng.normal(0, 5), 8) for channel in ground]
    is_white = min(solder_mask) > 150
    trace = _mix(
        solder_mask, (120, 110, 80) if is_white else (190, 205, 130), rng.uniform(0.14, 0.3)
    )
    finish = GOLD if rng.random() < 0.4 else SILVER
    silk = _mix(BLACK, WHITE, 0.16 if is_white else 0.89)
    return Palette(solder_mask, trace, _mix(solder_mask, BLACK, 0.22), finish, silk)


def _chip(rng: Generator) -> list[Pad]:
    length, height = int(rng.integers(2, 5)), rng.uniform(0.9, 1.8)
    return [Pad(x, 0, length * 0.38, height) for x in (0, length)]


def _small_outline(rng: Generator) -> list[Pad]:
    rows, gap = int(rng.integers(3, 9)), int(rng.integers(4, 8))
    return [Pad(x, y, 1.6, 0.58) for y in range(rows) for x in (0, gap)]


def _header(rng: Generator) -> list[Pad]:
    columns, rows = rng.integers((2, 1), (7, 3)).tolist()
    holes = [(2 * x, 2 * y) for x in range(columns) for y in range(rows)]
    return [Pad(x, y, 1.35, 1.35, is_round=x + y > 0, is_drilled=True) for x, y in holes]


def _ball_grid(rng: Generator) -> list[Pad]:
    side = int(rng.integers(3, 6))
    return [Pad(2 * x, 2 * y, 0.95, 0.95, is_round=True) for x in range(side) for y in range(side)]


FOOTPRINTS = (_chip, _chip, _chip, _small_outline, _small_outline, _header, _ball_grid)


def _box(pads: Sequence[Pad], margin: float) -> tuple[float, float, float, float]:
    """Left, top, right and bottom in cells."""
    left, top = (min(p[i] - p[i + 2] / 2 for p in pads) - margin for i in (0, 1))
    right, bottom = (max(p[i] + p[i + 2] / 2 for p in pads) + margin for i in (0, 1))
    return left, top, right, bottom


def _cells(pads: Sequence[Pad], margin: float) -> tuple[slice, slice]:
    left, top, right, bottom = (max(0, ceil(edge)) for edge in _box(pads, margin))
    return slice(left, right), slice(top, bottom)


def _add_footprint(layout: Layout, is_reserved: NDArray[np.bool_], rng: Generator) -> None:
    """Put a random footprint where no other one is, or nowhere."""
    pads = FOOTPRINTS[rng.integers(len(FOOTPRINTS))](rng)
    if rng.random() < 0.5:
        pads = [p._replace(x=p.y, y=p.x, w=p.h, h=p.w) for p in pads]
    dx, dy = rng.integers(0, len(is_reserved), 2).tolist()
    pads = [p._replace(x=p.x + dx, y=p.y + dy) for p in pads]
    if not is_reserved[_cells(pads, margin=1)].any():
        is_reserved[_cells(pads, margin=1)] = True
        for pad in pads:
            layout.is_taken[_cells([pad], margin=0.3)] = True
        layout.footprints.append(pads)


def _walk(
    layout: Layout, starts: Sequence[Cell], headings: Sequence[Cell], rng: Generator
) -> list[Cell]:
    """Walk several tracks in step until one is blocked; give the moves away from the starts."""
    turn_rate, heading = rng.uniform(0.08, 0.3), int(rng.integers(len(headings)))
    x, y = 0, 0
    moves = [(x, y)]
    for _ in range(int(rng.integers(4, 45))):
        if rng.random() < turn_rate:
            heading = (heading + int(rng.choice((-1, 1)))) % len(headings)
        dx, dy = headings[heading]
        # The two cells beside a diagonal step must be free as well, or tracks could cross there.
        nearby = {(x + dx, y + dy), (x + dx, y), (x, y + dy)} - {(x, y)}
        if not all(layout.is_free(sx + nx, sy + ny) for sx, sy in starts for nx, ny in nearby):
            break
        x, y = x + dx, y + dy
        moves.append((x, y))
    return moves


def _add_tracks(
    layout: Layout, starts: Sequence[Cell], headings: Sequence[Cell], width: float, rng: Generator
) -> None:
    moves = _walk(layout, starts, headings, rng)
    if len(moves) < 4:
        return
    for x, y in starts:
        cells = [(x + dx, y + dy) for dx, dy in moves]
        layout.tracks.append(Track(cells, width))
        for end in (cells[0], cells[-1]):
            if layout.is_free(*end):  # no via where a pad is
                layout.vias.append(Pad(*end, 0.8, 0.8, is_round=True, is_drilled=True))
        layout.is_taken[tuple(np.transpose(cells))] = True


def _layout(side: int, rng: Generator) -> Layout:
    layout = Layout(np.zeros((side, side), dtype=bool))
    is_reserved = np.zeros((side, side), dtype=bool)
    density, width = rng.uniform(0.3, 1), rng.uniform(0.28, 0.5)
    for _ in range(round(density * side * side / 30)):
        _add_footprint(layout, is_reserved, rng)
    for _ in range(round(density * 14)):
        x, y = rng.integers(0, side, 2).tolist()
        bus = [(x + i, y - i) for i in range(int(rng.integers(2, 7)))]
        if all(layout.is_free(*start) for start in bus):
            # One diagonal cell apart, tracks that head east, south-east or south never touch.
            _add_tracks(layout, bus, HEADINGS[:3], width, rng)
    for pad in [pad for pads in layout.footprints for pad in pads]:
        start = (round(pad.x), round(pad.y))
        if max(start) < side and rng.random() < density:
            _add_tracks(layout, [start], HEADINGS, width * float(rng.choice((1, 1, 1, 1.6))), rng)
    return layout


def _pixels(points: ArrayLike, scale: float = 1) -> NDArray[np.int32]:
    return np.rint(np.asarray(points, dtype=float) * scale).astype(np.int32)


def _paint_tracks(canvas: Bytes, tracks: Sequence[Track], pitch: float, palette: Palette) -> None:
    for clearance, colour in ((0.28, palette.groove), (0, palette.trace)):
        for track in tracks:
            width = round((track.width + clearance) * pitch)
            cv2.polylines(canvas, [_pixels(track.cells, pitch)], False, colour, width)


def _paint_pad(canvas: Bytes, pad: Pad, pitch: float, palette: Palette) -> None:
    """A pad in its mask opening, brighter towards its upper left, as solder and plating shine."""
    for growth, shift, colour in (
        (0.16, 0.0, palette.groove),
        (0.0, 0.0, _mix(palette.finish, BLACK, 0.2)),
        (-0.18, -0.03, palette.finish),
        (-0.42, -0.08, _mix(palette.finish, WHITE, 0.35)),
    ):
        half = np.maximum((np.array([pad.w, pad.h]) + growth) / 2, 0.04)
        centre = np.array([pad.x, pad.y]) + shift
        if pad.is_round:
            radius = round(half[0] * pitch)
            cv2.circle(canvas, _pixels(centre, pitch).tolist(), radius, colour, -1)
        else:
            low, high = _pixels([centre - half, centre + half], pitch).tolist()
            cv2.rectangle(canvas, low, high, colour, -1)
    if pad.is_drilled:
        hole = _pixels((pad.x, pad.y), pitch).tolist()
        cv2.circle(canvas, hole, round(0.25 * pad.w * pitch), (17, 16, 15), -1)


def _paint_silk(
    canvas: Bytes, footprints: Sequence[list[Pad]], pitch: float, silk: Colour, rng: Generator
) -> None:
    unit = len(canvas) / 182
    width, text_scale = round(rng.uniform(0.8, 1.4) * unit), rng.uniform(0.24, 0.4) * unit
    for pads in footprints:
        left, top, right, bottom = _pixels(_box(pads, margin=0.3), pitch).tolist()
        if rng.random() < 0.6:
            cv2.rectangle(canvas, (left, top), (right, bottom), silk, width)
        if rng.random() < 0.5:
            text, where = LABELS[rng.integers(len(LABELS))], (left, top - 2 * width)
            cv2.putText(canvas, text, where, cv2.FONT_HERSHEY_SIMPLEX, text_scale, silk, width)
    for _ in range(int(rng.integers(0, 3))):
        x, y = rng.uniform(0, len(canvas), 2)
        w, h = rng.uniform(10, 70, 2) * unit
        cv2.polylines(canvas, [_pixels([(x, y + h), (x, y), (x + w, y)])], False, silk, width)


def _board(side: int, rng: Generator) -> Bytes:
    """The sharp, evenly lit board, uint8 [side, side, 3]."""
    palette, pitch = _palette(rng), rng.uniform(5, 10.5) * side / 128
    canvas_side = ceil(side * 2**0.5)  # so that a turned canvas still covers the tile
    layout = _layout(ceil(canvas_side / pitch), rng)
    has_copper_pour = rng.random() < 0.3
    ground = palette.trace if has_copper_pour else palette.solder_mask
    canvas = np.full((canvas_side, canvas_side, 3), np.rint(ground), dtype=np.uint8)
    _paint_tracks(canvas, layout.tracks, pitch, palette)
    for via in layout.vias:
        _paint_pad(canvas, via, pitch, palette)
    _paint_silk(canvas, layout.footprints, pitch, palette.silk, rng)
    for pad in [pad for pads in layout.footprints for pad in pads]:
        _paint_pad(canvas, pad, pitch, palette)
    middle, eighths = canvas_side / 2, rng.choice(8, p=(0.2, 0.05) * 4)
    angle = 45 * int(eighths) + rng.normal(0, 1.5)
    turn = np.asarray(cv2.getRotationMatrix2D((middle, middle), angle, 1), dtype=float)
    turn[:, 2] -= middle - side / 2
    turned = cv2.warpAffine(canvas, turn, (side, side), borderMode=cv2.BORDER_REFLECT)
    return np.asarray(turned, dtype=np.uint8)


def _contrasting(candidates: Sequence[Colour], board: Bytes, rng: Generator) -> Colour:
    """One of the colours that stand out from the board, or else the one that does so most."""
    ground = np.median(board[::8, ::8], axis=(0, 1))
    distances = np.linalg.norm(np.asarray(candidates) - ground, axis=1)
    clear = np.flatnonzero(distances > min(130, distances.max() - 1))
    return candidates[rng.choice(clear)]


def _turned(points: Points, angle: float) -> Points:
    rotation = np.array([[cos(angle), sin(angle)], [-sin(angle), cos(angle)]])
    return np.asarray(points @ rotation, dtype=float)


def _placed(points: Points, side: int, rng: Generator) -> Points:
    """Move the points anywhere on the tile, at most 6 % of their extent beyond its border."""
    low, high = points.min(axis=0), points.max(axis=0)
    freedom = np.maximum((side - 0.88 * (high - low)) / 2, 0)
    return np.asarray(points - (low + high) / 2 + side / 2 + rng.uniform(-1, 1, 2) * freedom)


def _blend(board: Bytes, paint: ArrayLike, mask: Bytes, opacity: float = 1) -> None:
    """Lay paint, one colour or [h, w, 3], over the board where the mask is bright."""
    x, y, w, h = cv2.boundingRect(mask)
    window = slice(y, y + h), slice(x, x + w)
    alpha = mask[window][..., None] * np.float32(opacity / 255)
    colours = np.broadcast_to(np.asarray(paint, dtype=np.float32), board.shape)[window]
    mixed = board[window] + (colours - board[window]) * alpha
    board[window] = np.clip(np.rint(mixed), 0, 255)


def _thread(board: Bytes, rng: Generator) -> Bytes:
    unit, time = len(board) / 128, np.linspace(0, 1, 100)
    swing, rate, phase = rng.uniform((0.5, 0.3, 0), (1.5, 1.1, 1), (2, 3)).T[..., None]
    bends = (swing * np.sin(2 * pi * (rate * time + phase))).sum(axis=0)
    steps = np.stack([np.cos(bends), np.sin(bends)], axis=1) * rng.uniform(0.5, 1.1) * unit
    curve = _placed(_turned(np.cumsum(steps, axis=0), rng.uniform(0, 2 * pi)), len(board), rng)
    width, colour = rng.uniform(2.6, 4) * unit, _contrasting(FIBRES, board, rng)
    mask, paint = np.zeros(board.shape[:2], dtype=np.uint8), np.full_like(board, colour)
    cv2.polylines(mask, [_pixels(curve)], False, 255, round(width))
    lit_side = _pixels(curve - 0.15 * width)
    cv2.polylines(paint, [lit_side], False, _mix(colour, WHITE, 0.4), ceil(width / 3))
    _blend(board, paint, mask, opacity=rng.uniform(0.8, 1))
    return mask


def _closed(mask: Bytes, radius: float, growth: float) -> Bytes:
    """Join what lies nearer than twice the radius, then keep a border of `growth` pixels."""
    dilated = cv2.distanceTransform(255 - mask, cv2.DIST_L2, 3) <= radius
    depth = cv2.distanceTransform(dilated.astype(np.uint8), cv2.DIST_L2, 3)
    return np.where(depth > radius - growth, 255, 0).astype(np.uint8)


def _brushing(board: Bytes, rng: Generator) -> Bytes:
    unit, count = len(board) / 128, int(rng.integers(10, 31))
    patch, breadth = rng.uniform(35, 80), min(max(count * rng.uniform(1.7, 3.4), 28), 80)
    length = rng.uniform(0.4, 1, count) * patch
    along = rng.uniform(-0.5, 0.5, count) * (patch - length)
    across = np.linspace(-0.5, 0.5, count) * breadth + rng.normal(0, 0.8, count)
    ends = np.concatenate([(along - length / 2, across), (along + length / 2, across)], axis=1).T
    points = _pixels(_placed(_turned(ends * unit, rng.uniform(0, pi)), len(board), rng)).tolist()
    strokes = np.zeros(board.shape[:2], dtype=np.uint8)
    for start, end in zip(points[:count], points[count:], strict=True):
        cv2.line(strokes, start, end, rng.uniform(160, 255), round(rng.uniform(0.8, 1.6) * unit))
    _blend(board, _contrasting(SCRATCHES, board, rng), strokes, opacity=rng.uniform(0.8, 1))
    return _closed(np.where(strokes > 0, 255, 0).astype(np.uint8), 3.5 * unit, 0.5 * unit)


def _blob(radius: float, rng: Generator) -> Points:
    """An irregular closed outline of 64 points around the origin."""
    angle, order = np.linspace(0, 2 * pi, 64, endpoint=False), np.arange(2, 7)[:, None]
    swing, phase = rng.uniform(0, 0.5, (5, 1)) / order, rng.uniform(0, 2 * pi, (5, 1))
    distance = radius * (1 + (swing * np.cos(order * angle + phase)).sum(axis=0))
    oval = np.stack([np.cos(angle), np.sin(angle) * rng.uniform(0.65, 1)], axis=1)
    return _turned(distance[:, None] * oval, rng.uniform(0, pi))


def _tin(board: Bytes, rng: Generator) -> Bytes:
    unit, count = len(board) / 128, int(rng.integers(1, 7))
    radii = (rng.uniform(8, 13), *rng.uniform(3, 9, count - 1))
    centres = rng.normal(0, rng.uniform(9, 24), (count, 2))
    outlines = [_blob(r, rng) + centre for r, centre in zip(radii, centres, strict=True)]
    points = _placed(np.concatenate(outlines) * unit, len(board), rng)
    mask = np.zeros(board.shape[:2], dtype=np.uint8)
    for outline in np.split(points, count):
        cv2.fillPoly(mask, [_pixels(outline)], 255)
    depth = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    rise = np.minimum(depth / (6 * unit), 1)
    dome = cv2.GaussianBlur(np.sqrt(rise * (2 - rise)) * 5 * unit, (0, 0), 0.9 * unit)
    dx, dy = (cv2.Sobel(dome, cv2.CV_32F, *order) / 8 for order in ((1, 0), (0, 1)))
    light = rng.uniform(0, 2 * pi)
    facing = (dx * cos(light) + dy * sin(light)) / np.sqrt(1 + dx * dx + dy * dy)
    gloss = np.exp(-(((facing - 0.45) / 0.16) ** 2))
    grey = rng.uniform(150, 205) * (1 + 0.75 * facing) + 95 * gloss
    dark_rim = np.where(depth < 0.9 * unit, 0.4, 1).astype(np.float32)
    _blend(board, (grey * dark_rim)[..., None], mask)
    return mask


def _gash(length: float, width: float, rng: Generator) -> tuple[Points, Points]:
    """The torn edge and the gouge within it, two ragged outlines of 48 points at the origin."""
    time = np.linspace(0, 1, 24)
    along = (time - 0.5 + rng.normal(0, 0.008, 24)) * length
    middle = rng.uniform(-0.2, 0.2) * length * np.sin(pi * time) + rng.normal(0, 0.05, 24) * width
    above, below = np.sin(pi * time) ** 0.6 * rng.uniform(0.3, 0.62, (2, 24)) * width

    def outline(rim: Points) -> Points:
        x, top, bottom = along * (1 + rim / length), middle - above - rim, middle + below + rim
        return np.stack([np.append(x, x[::-1]), np.append(top, bottom[::-1])], axis=1)

    return outline(rng.uniform(0.04, 0.22, 24) * width + 0.3), outline(np.zeros(24))


def _wound(board: Bytes, rng: Generator) -> Bytes:
    side, unit = len(board), len(board) / 128
    outlines = np.concatenate(_gash(rng.uniform(22, 70), rng.uniform(7, 16), rng))
    points = _placed(_turned(outlines * unit, rng.uniform(0, 2 * pi)), side, rng)
    edge, gouge = np.split(_pixels(points), 2)
    mask = np.zeros((side, side), dtype=np.uint8)
    cv2.fillPoly(mask, [edge], 255)
    paint = np.full_like(board, _contrasting(TORN_EDGES, board, rng))
    cv2.fillPoly(paint, [gouge], _contrasting(LAMINATES, board, rng))
    grain = cv2.resize(rng.normal(0, 12, (64, 64)).astype(np.float32), (side, side))
    _blend(board, paint + grain[..., None], mask)
    return mask


# Each paints its defect into the sharp board, in place, and gives the mask in {0, 255}.
PAINTERS: dict[str, Callable[[Bytes, Generator], Bytes]] = dict(
    zip(CLASSES, (_thread, _brushing, _tin, _wound), strict=True)
)


def _photograph(board: Bytes, size: int, rng: Generator) -> Bytes:
    """Sample the sharp board as a camera does: uneven light, slight blur, sensor noise."""
    tile = cv2.resize(board, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
    across, angle = np.linspace(-1, 1, size), rng.uniform(0, 2 * pi)
    ramp = cos(angle) * across[None, :] + sin(angle) * across[:, None]
    light = rng.uniform(0.9, 1.1) * (1 + rng.uniform(0.02, 0.12) * ramp)
    blurred = cv2.GaussianBlur(tile * light[..., None], (3, 3), rng.uniform(0.3, 0.7))
    noisy = blurred + rng.normal(0, NOISE, blurred.shape)
    return np.asarray(np.clip(np.rint(noisy), 0, 255), dtype=np.uint8)


def draw_board(seed: Seed, size: int) -> Bytes:
    """Draw a normal tile, uint8 [size, size, 3]."""
    layout, _, camera = np.random.default_rng(seed).spawn(3)
    return _photograph(_board(size * SUPERSAMPLING, layout), size, camera)


def draw_defect(name: str, seed: Seed, size: int) -> tuple[Bytes, Bytes]:
    """Draw `draw_board(seed, size)` with a defect of the class `name` in it.

    Gives the tile, uint8 [size, size, 3], and its mask, uint8 [size, size] in {0, 255}.
    """
    # Streams of their own, so that a defect changes neither the layout nor the noise.
    layout, defect, camera = np.random.default_rng(seed).spawn(3)
    board = _board(size * SUPERSAMPLING, layout)
    fine_mask = PAINTERS[name](board, defect)
    coverage = cv2.resize(fine_mask, (size, size), interpolation=cv2.INTER_AREA)
    # A stroke thinner than a pixel may cover no pixel by half: a quarter is enough.
    return _photograph(board, size, camera), np.where(coverage >= 64, 255, 0).astype(np.uint8)


def _save(image: Bytes, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {"quality": 90, "subsampling": 0} if path.suffix == ".jpg" else {}
    Image.fromarray(image).save(path, optimize=True, **options)


def draw_set(
    out: Path,
    *,
    normal: int,
    defects: int,
    size: int = 128,
    seed: int = 0,
    image_format: Literal["jpg", "png"] = "jpg",
) -> None:
    """Write `normal` plain tiles, and `defects` tiles and masks of every class, under `out`.

    The files are out/normal/0000.jpg, out/<class>/0000.jpg and out/masks/<class>/0000.png.
    """
    for folder in ("normal", *CLASSES, *(f"masks/{name}" for name in CLASSES)):
        if any((out / folder).glob("*")):
            raise FileExistsError(
                f"{out / folder} is not empty, so nothing was drawn: "
                "give another --out, or move that folder away first"
            )
    for i in range(normal):
        _save(draw_board((seed, 0, i), size), out / "normal" / f"{i:04}.{image_format}")
    for c, name in enumerate(CLASSES, start=1):
        for i in range(defects):
            image, mask = draw_defect(name, (seed, c, i), size)
            _save(image, out / name / f"{i:04}.{image_format}")
            _save(mask, out / "masks" / name / f"{i:04}.png")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Draw circuit-board tiles, plain and defective.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--normal", type=int, default=96, help="number of plain tiles")
    parser.add_argument("--defects", type=int, default=48, help="number of tiles of every class")
    parser.add_argument("--size", type=int, default=128, help="side of a tile in pixels")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws another set")
    parser.add_argument("--format", dest="image_format", choices=("jpg", "png"), default="jpg")
    try:
        draw_set(**vars(parser.parse_args(arguments)))
    except FileExistsError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
