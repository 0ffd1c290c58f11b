"""The critic's score from which on an image is among the best of its class."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from operator import itemgetter

import numpy as np

from defectgan.generation.canvas import Canvas, Result, Try
from defectgan.generation.checks import CONFIDENCE, SCORE
from defectgan.generation.plan import make_plan
from defectgan.generation.request import GenerateJob

# Images of each class whose scores tell where the best begin.
SAMPLE = 32


def scored(job: GenerateJob, candidates: int) -> int:
    """How many paintings it takes to find where the best begin, however small a job is."""
    return SAMPLE * len(job.defects) * candidates if job.checks.keep_best is not None else 0


def find_bounds(
    job: GenerateJob, candidates: int, paint: Callable[[Iterable[Try]], Iterator[list[Result]]]
) -> dict[str, float]:
    """The score of each class that the share of images to be kept reaches, by the first images of
    the job, each the surest of its candidates; it depends not on how many images there are.

    Args:
        job: what is to be made.
        candidates: of each image.
        paint: gives what becomes of rows.
    """
    keep = job.checks.keep_best
    if keep is None:
        return {}
    wishes = replace(job.wishes, together=False, count=(1, 1))
    n = SAMPLE * len(job.defects)
    groups = make_plan(
        job.sources.files, job.defects, n=n, seed=job.seed, candidates=candidates, wishes=wishes
    )
    surest: dict[int, tuple[str, float, float]] = {}
    for results in paint(Try(row) for rows in groups for row in rows):
        for canvas in results:
            if isinstance(canvas, Canvas):
                number, opinion = canvas.row.number, canvas.verdict
                one = canvas.row.defect, opinion[CONFIDENCE], opinion[SCORE]
                surest[number] = max(surest.get(number, one), one, key=itemgetter(1))
    scores: dict[str, list[float]] = {name: [] for name in job.defects}
    for defect, _, score in surest.values():
        scores[defect].append(score)
    return {name: float(np.quantile(s, 1 - keep)) for name, s in scores.items() if s}
