"""From a canvas to files: composed at the source's own size, checked, and written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from defectgan import __version__
from defectgan.data.masks import is_defect
from defectgan.generation.canvas import Begun, Canvas, NoRoom, Result
from defectgan.generation.checks import EMPTY, NEARNESS, NO_ROOM, UNREAL, UNSEEN, Checks
from defectgan.generation.layer import PaintedSource, visibly_changed
from defectgan.generation.plan import PlanRow, Wanted
from defectgan.generation.region import box_of
from defectgan.generation.shelf import seen_whole
from defectgan.generation.style import Style
from defectgan.generation.where import Region
from defectgan.generation.writers import FolderWriter
from defectgan.manifest import AND, FORMAT, Box, GivenUp, Instance, ManifestRow, Rejection
from defectgan.model.file import Model
from defectgan.views import Window

# Frame pixels that stay free round a defect where the next one may be anywhere.
APART = 2


class Progress(NamedTuple):
    """What there is of an image that is not finished: what was ``begun``, its mask [H, W] as it
    will be written, the defects on it, and what was rejected.
    """

    begun: Begun | None = None
    mask: NDArray[np.uint8] | None = None
    instances: tuple[Instance, ...] = ()
    rejected: tuple[Rejection, ...] = ()


NOTHING = Progress()


@dataclass(frozen=True)
class Round:
    """The candidates of one defect of a ``wanted`` image: the defect is the one that comes next
    after those that are there, ``again`` counts how often all its candidates were rejected.
    """

    wanted: Wanted
    progress: Progress = NOTHING
    again: int = 0

    @property
    def nth(self) -> int:
        """Which of the defects of its image this is."""
        return len(self.progress.instances)


class _Taken(NamedTuple):
    """A candidate that is kept."""

    canvas: Canvas
    painted: PaintedSource
    found: Region


@dataclass(frozen=True)
class Finisher:
    """Chooses among the candidates of a defect, and writes an image when all its defects are there.

    Args:
        writer: where images go.
        model: what painted them.
        device: where it does.
        thresholds: the opacity of each class above which a pixel is defect.
        checks: what is rejected; None: nothing.
        candidates: how many there are of each defect.
        style: in whose manner they are painted, if in anybody's.
    """

    writer: FolderWriter
    model: Model
    device: torch.device
    thresholds: Mapping[str, float]
    checks: Checks | None
    candidates: int
    style: Style | None = None

    @property
    def tries(self) -> int:
        """How many candidates a round has."""
        return self.candidates * (self.checks.rivals if self.checks else 1)

    def __call__(self, round_: Round, results: Sequence[Result]) -> "ManifestRow | GivenUp | Round":
        """The row of an image that is finished or given up, or what is to be painted next of it."""
        taken, rejected = self._take(round_, results)
        rejected = round_.progress.rejected + rejected
        if taken is None:
            again, progress = round_.again + 1, round_.progress._replace(rejected=rejected)
            if self.checks is None or again >= self.checks.rounds(self.tries):
                return _given_up(round_.wanted, rejected)
            return replace(round_, progress=progress, again=again)
        progress = self._with(round_.progress, taken)._replace(rejected=rejected)
        if len(progress.instances) < len(round_.wanted.classes):
            begun = self._begun(round_.progress.begun, taken)
            return Round(round_.wanted, progress._replace(begun=begun))
        return self._written(round_, progress, taken)

    def _take(
        self, round_: Round, results: Sequence[Result]
    ) -> tuple[_Taken | None, tuple[Rejection, ...]]:
        """The surest candidate that holds what is asked for, of several such the most real; and
        those that were rejected.
        """
        rejected = [_rejection(round_, r.row, NO_ROOM) for r in results if isinstance(r, NoRoom)]
        taken = None
        for canvases in self._ranked(results):
            if taken is not None:
                rejected.append(_rejection(round_, canvases[0].row, UNREAL, canvases[0].realism))
                continue
            for canvas in canvases:
                if self.checks and (why := self.checks.of_opinion(canvas.verdict)):
                    rejected.append(_rejection(round_, canvas.row, *why))
                    if NEARNESS in canvas.verdict:
                        continue
                    break  # the others are even less sure
                tried = self._composed(canvas, self._threshold(round_.wanted))
                if (fault := self._fault(tried)) is None:
                    taken = tried
                    break
                rejected.append(_rejection(round_, canvas.row, *fault))
        return taken, tuple(rejected)

    def _ranked(self, results: Sequence[Result]) -> list[list[Canvas]]:
        """Groups of so many candidates, of each that of most worth first; of these the most real
        first. Of equal ones the earlier.
        """
        groups = []
        for start in range(0, len(results), self.candidates):
            group = [r for r in results[start : start + self.candidates] if isinstance(r, Canvas)]
            if self.candidates > 1:
                group.sort(key=lambda canvas: -canvas.worth)
            if group:
                groups.append(group)
        if len(groups) > 1:
            groups.sort(key=lambda group: -group[0].realism)
        return groups

    def _threshold(self, wanted: Wanted) -> float:
        """One mask has one threshold, whatever classes it shows."""
        return min(self.thresholds[name] for name in wanted.classes)

    def _composed(self, canvas: Canvas, threshold: float) -> _Taken:
        painted = canvas.painted(self.model, self.device)
        return _Taken(canvas, painted, is_defect(painted.mask, threshold))

    def _fault(self, taken: _Taken) -> tuple[str] | tuple[str, float] | None:
        """Why a painting cannot be kept, None where it can."""
        canvas, painted, found = taken
        if self.checks is None or not canvas.row.wishes.strength:
            return None
        box = box_of(found)
        if box is None:
            return (EMPTY,)
        source = canvas.source
        before, after, shown = (
            Window(*box).cut(planes)
            for planes in (
                source.picture.pixels.transpose(2, 0, 1),
                painted.pixels.transpose(2, 0, 1),
                found,
            )
        )
        if not visibly_changed(before, after, source.levels)[shown].any():
            return (UNSEEN,)
        return self.checks.of_found(found, canvas.view.window.cut(found))

    def _with(self, progress: Progress, taken: _Taken) -> Progress:
        """What there is with one defect more."""
        canvas, painted, found = taken
        instance = Instance(
            defect=canvas.row.defect,
            seed=canvas.row.seed,
            window=canvas.view.window,
            region=None if canvas.placed is None else canvas.placed.box,
            box=box_of(found),
            area=round(float(found.mean()), 6),
            **canvas.verdict,
        )
        mask = painted.mask if progress.mask is None else np.maximum(progress.mask, painted.mask)
        return progress._replace(mask=mask, instances=(*progress.instances, instance))

    def _begun(self, before: Begun | None, taken: _Taken) -> Begun:
        """What the next defect of an image is painted on."""
        source, near = taken.canvas.source, _near(taken)
        picture = replace(source.picture, pixels=taken.painted.pixels)
        whole = seen_whole(picture, self.model.info, source.levels)
        return Begun(
            source if before is None else before.clean,
            replace(source, picture=picture, whole=whole),
            near if before is None else before.taken | near,
        )

    def _written(self, round_: Round, progress: Progress, last: _Taken) -> ManifestRow:
        """Write an image; of several defects a pixel is defect where it is of any."""
        source, threshold = last.canvas.source, self._threshold(round_.wanted)
        assert progress.mask is not None
        found = is_defect(progress.mask, threshold) if round_.nth else last.found
        row = replace(round_.wanted.first, source=source.path, defect=named(round_.wanted))
        row = replace(row, seed=progress.instances[0].seed)
        picture = replace(source.picture, pixels=last.painted.pixels)
        classes = dict.fromkeys(round_.wanted.classes)
        files = self.writer.write(row, picture, progress.mask, found, classes=classes)
        if self.style is not None:
            files |= {"style": str(self.style.path), "style_sha256": self.style.sha256}
        return ManifestRow(
            format=FORMAT,
            number=row.number,
            **files,
            source=row.source and str(row.source),
            source_sha256=source.sha256,
            defect=row.defect,
            seed=row.seed,
            window=_around([one.window for one in progress.instances]),
            threshold=threshold,
            box=box_of(found),
            mask_area=round(float(found.mean()), 6),
            mask_kind=self.model.painter.method.mask_kind,
            **_least(progress.instances),
            model_sha256=self.model.sha256,
            defectgan=__version__,
            torch=torch.__version__,
            **_besides(progress, row.wishes.strength),
        )


def _rejection(round_: Round, row: PlanRow, why: str, value: float | None = None) -> Rejection:
    said = {} if value is None else {"value": value}
    return Rejection(nth=round_.nth, seed=row.seed, why=why, **said)


def _given_up(wanted: Wanted, rejected: Sequence[Rejection]) -> GivenUp:
    return GivenUp(number=wanted.number, defect=named(wanted), rejected=tuple(rejected))


def named(wanted: Wanted) -> str:
    """What the class of an image is called: all of its classes."""
    return AND.join(dict.fromkeys(wanted.classes))


def _near(taken: _Taken) -> Region:
    """Where the next defect of an image shall not be: in the region of this one where it was drawn
    in a size, else near what was painted.
    """
    # Not in a network's way: OpenCV takes a quarter of a second to import.
    import cv2

    view, placed = taken.canvas.view, taken.canvas.placed
    if placed is not None and placed.sized:
        near = np.zeros(taken.found.shape, bool)
        view.window.cut(near)[:] = placed.region
        return near
    scale = view.window.height / view.inside.height
    kernel = np.ones((2 * round(APART * scale) + 1,) * 2, np.uint8)
    return cv2.dilate(taken.found.astype(np.uint8), kernel) > 0


def _around(windows: Sequence[Box]) -> Window:
    """What holds all of some windows."""
    left, top, right, bottom = zip(*((x, y, x + w, y + h) for x, y, w, h in windows), strict=True)
    return Window(min(left), min(top), max(right) - min(left), max(bottom) - min(top))


def _least(instances: Sequence[Instance]) -> dict[str, float]:
    """The critic's opinion of an image: of each kind that of its worst defect."""
    verdicts = [one.verdict for one in instances]
    return {name: min(verdict[name] for verdict in verdicts) for name in verdicts[0]}


def _besides(progress: Progress, strength: float) -> dict[str, Any]:
    """What a row says only where there is something to say."""
    said: dict[str, Any] = {}
    if len(progress.instances) > 1 or progress.instances[0].region is not None:
        said["instances"] = progress.instances
    if strength != 1:
        said["strength"] = strength
    if progress.rejected:
        said["rejected"] = progress.rejected
    return said
