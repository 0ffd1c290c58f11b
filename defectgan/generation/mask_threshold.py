"""The opacity above which a pixel counts as painted defect, found so that what is visibly changed
lies above it.

How opaque a model paints what a person sees differs from model to model and from class to class: no
constant covers the visible change of all of them without marking much that nobody sees.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from defectgan.generation.canvas import Canvas, Result, Try
from defectgan.generation.layer import PaintedSource, visibly_changed
from defectgan.generation.plan import make_plan
from defectgan.generation.request import GenerateJob
from defectgan.model.info import MASK_THRESHOLD
from defectgan.model.pixels import INVISIBLE

# The share of the visibly changed pixels of a class that shall lie above its threshold: more than
# the 95 % that are promised of any set, for these are the first images alone.
COVERED = 0.97
# Images of each class that are looked at.
SAMPLE = 16
DIGITS = 3


def looked_at(job: GenerateJob) -> int:
    """How many paintings it takes to find the thresholds of a job, however small it is."""
    return SAMPLE * len(job.defects)


def find_thresholds(
    job: GenerateJob,
    paint: Callable[[Iterable[Try]], Iterator[list[Result]]],
    compose: Callable[[Canvas], PaintedSource],
) -> dict[str, float]:
    """The highest threshold of each class above which COVERED of what is visibly changed lies, by
    the first images of the job as they come; it depends neither on how many there are nor on the
    candidates.

    Args:
        job: what is to be made.
        paint: gives what becomes of rows.
        compose: puts the layer of one into the pixels of its source.
    """
    # One defect an image, of one class.
    wishes = replace(job.wishes, together=False, count=(1, 1), strength=job.weakest)
    plan = make_plan(job.sources.files, job.defects, n=looked_at(job), seed=job.seed, wishes=wishes)
    visible = {name: np.zeros(256, np.int64) for name in job.defects}
    for results in paint(Try(row) for row, *_ in plan):
        for canvas in results:
            if isinstance(canvas, Canvas):
                visible[canvas.row.defect] += _visible(canvas, compose(canvas))
    return {name: _highest(counts) for name, counts in visible.items()}


def _visible(canvas: Canvas, painted: PaintedSource) -> NDArray[np.int64]:
    """How many visibly changed pixels have each opacity of 0..255, as it is written."""
    # Nothing changes beside the window, of which a large image may hold many.
    cut, source = canvas.view.window.cut, canvas.source
    before, after = (cut(p.transpose(2, 0, 1)) for p in (source.picture.pixels, painted.pixels))
    seen = visibly_changed(before, after, source.levels)
    return np.bincount(cut(painted.mask)[seen], minlength=256)


def _highest(visible: NDArray[np.int64]) -> float:
    """Between the opacities of 0..255, the highest place with COVERED of the counted pixels above
    it; the usual threshold where none is visible.
    """
    if not visible.any():
        return MASK_THRESHOLD
    above = visible[::-1].cumsum()[::-1]  # that have at least this opacity
    lowest = int(np.flatnonzero(above >= COVERED * visible.sum())[-1])
    return max(INVISIBLE, round((lowest - 0.5) / 255, DIGITS))
