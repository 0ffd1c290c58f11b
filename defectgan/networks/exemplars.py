"""What a real defect looks like, as a code from which it is painted again, there or elsewhere.

B images, C image channels, H x W pixels, h x w cells of ``CELL`` pixels each way, Q code channels,
E exemplars of a class.

A restoration says where a defect is and what the image was without it. What it took away is encoded
cell by cell: 0 wherever nothing was taken away. Painting reads that code, so a defect is painted
again from its own; and, in another pose and at another place, on another image. What a network that
has only noise to begin from must learn from an adversary alone, it learns here from the images
themselves.

Sources: Zhu et al., "Toward Multimodal Image-to-Image Translation" (BicycleGAN), NeurIPS 2017, for
    a code that is encoded from a real image and asked to give it back; Li et al., "CutPaste", CVPR
    2021, for defects of one image on another.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from defectgan.networks.detail import finer_by, packed, unpacked
from defectgan.networks.generator import Layer, RobustGenerator, at
from defectgan.networks.layers import Conv
from defectgan.networks.slices import ChannelSlice

CELL = 4
# Channels of what is encoded; one more says how much of a cell was taken away.
ENCODED = 12
CODE = ENCODED + 1
# A pixel that went less far than this, of a range of 2, did not change; one that went so much
# further did.
STILL, GONE = 0.04, 0.16
LEAK = 0.2
# Share of the places exemplars may go to that look most like the one they came from: one alone, and
# several, of which the best fitting is taken.
ALIKE, BEST = 0.1, 0.005
# A place that an exemplar lies beyond is worse than any within, by as much as lies beyond.
BEYOND = 1e3
# Poses: mirrored across, mirrored down, transposed; any of them together.
POSES = 8


def changed(before: Tensor, after: Tensor) -> Tensor:
    """How clearly each pixel of images [B, C, H, W] in [-1, 1] went, [B, 1, H, W] in [0, 1]."""
    gone = (after - before).abs().amax(1, keepdim=True)
    return ((gone - STILL) / GONE).clamp(0, 1)


class Encoder(nn.Module):
    """What a restoration took away, as a code [B, CODE, h, w]: tanh values, 0 where it took
    nothing, and the share of each cell's pixels that it took.
    """

    def __init__(self, channels: int, width: int) -> None:
        """Args: C; channels at full resolution, 4 x at the last one."""
        super().__init__()
        self.body = nn.Sequential(
            Conv(2 * channels + 1, width, 3),
            nn.LeakyReLU(LEAK),
            Conv(width, 2 * width, 4, stride=2),
            nn.LeakyReLU(LEAK),
            Conv(2 * width, 4 * width, 4, stride=2),
            nn.LeakyReLU(LEAK),
            Conv(4 * width, ENCODED, 1),
        )
        self.channel_slices = (
            ChannelSlice("body.0.weight", axis=1),
            ChannelSlice("body.0.weight", axis=1, images=1),
        )

    def forward(self, defect: Tensor, restored: Tensor, mask: Tensor) -> Tensor:
        """From defect images [B, C, H, W], the same restored, and the mask [B, 1, H, W] of that."""
        seen = torch.cat([defect, defect - restored, mask], dim=1)
        encoded = torch.tanh(self.body(seen).float())
        taken = changed(defect, restored)
        gate = (4 * F.max_pool2d(taken, CELL)).clamp(max=1)
        return torch.cat([encoded * gate, F.avg_pool2d(taken, CELL)], dim=1)


class Exemplars(NamedTuple):
    """Codes [B, CODE, h, w], and of each the ``ground`` [B, C, h, w] that it came from: the
    restored image, cell by cell.
    """

    code: Tensor
    ground: Tensor

    def posed(self, pose: Tensor) -> "Exemplars":
        """Each in one of ``POSES`` poses, [B] whole numbers."""
        return Exemplars(*(posed(part, pose) for part in self))


def cells(image: Tensor) -> Tensor:
    """Images [B, C, H, W] cell by cell, [B, C, h, w]."""
    return F.avg_pool2d(image, CELL)


def poses_shown(*, flip: bool, rotate: bool, square: bool) -> tuple[int, ...]:
    """The poses that images are shown in where they are mirrored, and turned by multiples of 90
    degrees (half a turn where they are not square).
    """
    if flip:
        return tuple(range(POSES)) if rotate and square else (0, 1, 2, 3)
    # Half a turn is mirrored both ways; a quarter, transposed and mirrored one way.
    return ((0, 3, 5, 6) if square else (0, 3)) if rotate else (0,)


def posed(x: Tensor, pose: Tensor) -> Tensor:
    """Maps [B, ., h, w], each in its own pose [B]; not transposed where they are not square."""
    for bit, turned in ((1, lambda t: t.flip(3)), (2, lambda t: t.flip(2)), (4, _transposed)):
        chosen = (pose // bit % 2).bool().view(-1, 1, 1, 1)
        x = torch.where(chosen, turned(x), x)
    return x


def _transposed(x: Tensor) -> Tensor:
    return x.transpose(2, 3) if x.shape[2] == x.shape[3] else x


class Moves(NamedTuple):
    """By how many cells down and across each exemplar goes, [B] whole numbers."""

    down: Tensor
    across: Tensor


class Placed(NamedTuple):
    """Which of an image's exemplars goes there, [B] whole numbers, and how far it moves."""

    which: Tensor
    moves: Moves


@torch.no_grad()
def place(
    exemplars: Exemplars,
    onto: Tensor,
    chance: Tensor,
    *,
    tries: int = 1,
    within: Tensor | None = None,
) -> Placed:
    """Where exemplars go: to one of the places that look most like where each came from, of those
    where it lies as a whole; where there is none, to where most of it does.

    Args:
        exemplars: ``tries`` for each image, one image's after the other's; one of them goes there.
        onto: the images [B, C, h, w], cell by cell.
        chance: [B] in [0, 1), which of these places.
        tries: how many there are for an image.
        within: [B, 1, h, w], 1 in the cells where they may lie; None for all.
    """
    h, w = onto.shape[2:]
    within = torch.ones_like(onto[:, :1]) if within is None else within
    onto, within = (x.float().repeat_interleave(tries, 0) for x in (onto, within))
    share = exemplars.code[:, -1:].float()
    # The defect, and with a rim of a cell what it is fitted in by.
    core = (share > 0.25 * share.amax((2, 3), keepdim=True)).float()
    weight = F.max_pool2d(core, 3, stride=1, padding=1)
    ground = exemplars.ground.float()
    # At every shift: the squared difference, the mean over the cells that lie inside the image.
    ones = torch.ones_like(weight)
    square = _correlated(onto.square().sum(1, keepdim=True), weight)
    own = _correlated(ones, weight * ground.square().sum(1, keepdim=True))
    cross = _correlated(onto, weight.expand_as(ground) * ground)
    cost = (square - 2 * cross + own) / _correlated(ones, weight).clamp(min=1)
    size = core.sum((1, 2, 3)).view(-1, 1, 1)
    there = _correlated(within, core)
    inside = there > size - 0.5
    cost = torch.where(inside, cost, cost + BEYOND * (1 - there / size.clamp(min=1)))
    shifts = (2 * h - 1) * (2 * w - 1)
    cost, inside = (each.reshape(-1, tries * shifts) for each in (cost, inside))
    allowed = inside.sum(1)
    nth = (chance * ((ALIKE if tries == 1 else BEST) * allowed).ceil().clamp(min=1)).long()
    best = cost.argsort(dim=1).gather(1, nth[:, None])[:, 0]
    down, across = best % shifts // (2 * w - 1), best % (2 * w - 1)
    return Placed(best // shifts, Moves(down - (h - 1), across - (w - 1)))


def _correlated(x: Tensor, kernel: Tensor) -> Tensor:
    """``sum_yx x[y + down, x + across] kernel[y, x]`` of maps [B, C, h, w] at all shifts, summed
    over the channels, [B, 2 h - 1, 2 w - 1].
    """
    h, w = x.shape[2:]
    if torch.compiler.is_compiling():
        # ONNX has no convolution with as many groups as images of a batch whose size is free.
        seen = F.unfold(F.pad(x, (w - 1, w - 1, h - 1, h - 1)), (h, w))
        return (kernel.flatten(1)[:, None] @ seen).reshape(-1, 2 * h - 1, 2 * w - 1)
    # Shifts run from 1 - h to h - 1: 2 h places are enough for none to meet another.
    seen, known = (torch.fft.rfft2(maps, s=(2 * h, 2 * w)) for maps in (x, kernel))
    found: Tensor = torch.fft.irfft2((seen * known.conj()).sum(1), s=(2 * h, 2 * w))
    return found.roll((h - 1, w - 1), (1, 2))[:, : 2 * h - 1, : 2 * w - 1]


def moved(x: Tensor, moves: Moves, *, cell: int = 1) -> Tensor:
    """Maps [B, ., h, w], each shifted by its cells of so many pixels; zeros come in."""
    down, across = (cell * shift.view(-1, 1) for shift in moves)
    height, width = x.shape[2:]
    rows = torch.arange(height, device=x.device) - down
    columns = torch.arange(width, device=x.device) - across
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[
        :, None
    ]
    source = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None]
    index = source.flatten(1)[:, None].expand(-1, x.shape[1], -1)
    return x.flatten(2).gather(2, index).reshape(x.shape) * inside[:, None]


class ExemplarGenerator(RobustGenerator):
    """The robust form, which also paints from a code."""

    def __init__(self, channels: int, classes: int, **sizes: Any) -> None:
        super().__init__(channels, classes, **sizes)
        self.encoder = Encoder(channels, self.width)
        self.inject = nn.Conv2d(CODE, 4 * self.width, 1)

    def forward(
        self, image: Tensor, control: Tensor, noise: Tensor, code: Tensor | None = None
    ) -> Layer:
        """As of ``Generator``; ``code`` [B, CODE, h, w] is painted where the control map asks for a
        defect, None: nothing of the kind.
        """
        if code is None:
            return super().forward(image, control, noise)
        defect = at(1 - control[:, :1], (code.shape[2], code.shape[3]))
        return super().forward(image, control, noise, self.inject(code) * defect)


class Bank(nn.Module):
    """The exemplars that a trained model paints from: of each class as many as there is ``room``
    for, with the detail that is finer than the model sees.

    It has no parameters; what is in it, and how large it is, comes with the weights, but for the
    ``poses`` that there are.
    """

    code: Tensor
    ground: Tensor
    count: Tensor
    tiles: Tensor
    number: Tensor
    poses: Tensor

    def __init__(
        self, channels: int, classes: int, size: tuple[int, int], poses: Sequence[int]
    ) -> None:
        super().__init__()
        # Of each class one that is nothing: also an empty bank can be drawn from.
        all_, cells_ = classes - 1, [side // CELL for side in size]
        side = CELL * finer_by(size)
        self.register_buffer("code", torch.zeros(all_, CODE, *cells_))
        self.register_buffer("ground", torch.zeros(all_, channels, *cells_))
        self.register_buffer("count", torch.zeros(all_))
        self.register_buffer("tiles", torch.zeros(0, channels, side, side, dtype=torch.int8))
        self.register_buffer("number", torch.full((all_, *cells_), -1, dtype=torch.int32))
        # Here, so that it need not be brought onto the device in each step.
        self.register_buffer("poses", torch.tensor(poses), persistent=False)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        # Earlier weights have no detail. The others say themselves how large all is.
        code = state_dict.get(f"{prefix}code", self.code)
        tiles = state_dict.setdefault(f"{prefix}tiles", self.tiles[:0])
        none = self.number.new_full((len(code), *self.number.shape[1:]), -1)
        state_dict.setdefault(f"{prefix}number", none)
        self._make_room(len(code) // len(self.count))
        self.tiles = self.tiles.new_zeros(len(tiles), *self.tiles.shape[1:])
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    @property
    def room(self) -> int:
        """How many exemplars of a class it can hold."""
        return len(self.code) // len(self.count)

    def _make_room(self, room: int) -> None:
        """Forget all, and have room for so many of each class, one at least."""
        for name, empty in (("code", 0), ("ground", 0), ("number", -1)):
            old = getattr(self, name)
            new = old.new_full((max(1, room) * len(self.count), *old.shape[1:]), empty)
            setattr(self, name, new)
        self.tiles = self.tiles[:0]
        self.count.zero_()

    @torch.no_grad()
    def fill(self, exemplars: Sequence[Exemplars]) -> None:
        """Let these be the exemplars, a defect class after the other; none has detail."""
        self._make_room(max(len(each.code) for each in exemplars))
        for k, each in enumerate(exemplars, start=1):
            for kept, new in ((self.code, each.code), (self.ground, each.ground)):
                kept[self.places(k)][: len(new)] = new
            self.count[k - 1] = len(each.code)

    def places(self, k: int) -> slice:
        """Where those of class k lie; only the first ``count`` of it are any."""
        return slice((k - 1) * self.room, k * self.room)

    @torch.no_grad()
    def keep(self, k: int, bands: Tensor) -> None:
        """Keep the detail [E, C, S H, S W] of the exemplars of class k, which has none yet."""
        tiles, number = packed(bands, self.code[self.places(k)][: len(bands), -1] > 0)
        self.number[self.places(k)][: len(number)] = torch.where(
            number < 0, -1, number + len(self.tiles)
        )
        self.tiles = torch.cat([self.tiles, tiles])

    def pose(self, chance: Tensor) -> Tensor:
        """A pose for each chance [B] in [0, 1), whole numbers."""
        return self.poses[(chance * len(self.poses)).long()]

    def draw(self, label: Tensor, chance: Tensor) -> Tensor:
        """The place [B] in the bank of one of class ``label`` [B], whole numbers from 1 on, each by
        its ``chance`` [B] in [0, 1); of an empty one where there is none.
        """
        return (label - 1) * self.room + (chance * self.count[label - 1]).long()

    def exemplars(self, places: Tensor) -> Exemplars:
        """Those at places [B]."""
        return Exemplars(self.code[places], self.ground[places])

    def bands(self, places: Tensor) -> Tensor:
        """The detail of those at places [B], as of ``unpacked``."""
        return unpacked(self.tiles, self.number[places])
