"""What the model paints, before it is composed: a batch of layers, each with all that finishing it
takes.
"""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from defectgan.generation.likeness import Likeness
from defectgan.generation.plan import PlanRow
from defectgan.generation.shelf import Shelf, Source
from defectgan.memory import Portions
from defectgan.model.file import Model
from defectgan.model.pixels import model_view, row_noise
from defectgan.networks.compose import compose
from defectgan.views import View, Viewer

T = TypeVar("T")

# Batches whose sources are read ahead: they may be large.
AHEAD = 1
CONFIDENCE, NEARNESS = "class_confidence", "nearness"


@dataclass(frozen=True)
class Canvas:
    """A row with all that is needed to finish it without the model."""

    row: PlanRow
    source: Source
    view: View
    image: Tensor
    foreground: Tensor
    mask: Tensor
    verdict: dict[str, float]

    @property
    def confidence(self) -> float:
        """How sure the critic is of the class."""
        return self.verdict[CONFIDENCE]

    @property
    def worth(self) -> float:
        """By which the best of several candidates is chosen: how near it is to the examples that
        more is wanted of, where there are some, else how sure the critic is of the class.
        """
        return self.verdict[NEARNESS if NEARNESS in self.verdict else CONFIDENCE]

    @torch.no_grad()
    def detail(self, model: Model, device: torch.device) -> Tensor | None:
        """What of the layer is finer than the model sees, see ``paint_source``."""
        painter = model.painter
        image = self.image[None].to(device)
        noise = row_noise(self.row.seed, painter.noise_size(*self.view.frame))[None].to(device)
        control = painter.control([model.info.label_of(self.row.defect)], device)
        detail = painter.detail(image, control, noise)
        return None if detail is None else detail[0].cpu()

    def apart(self) -> "Canvas":
        """Without the batch that it was computed in: it may have to wait."""
        return replace(self, foreground=self.foreground.clone(), mask=self.mask.clone())


def paint_rows(
    shelf: Shelf,
    portions: Portions,
    rows: Iterable[PlanRow],
    *,
    model: Model,
    device: torch.device,
    likeness: Likeness | None = None,
) -> Iterator[list[Canvas]]:
    """The canvases of rows, as many at once as fit, while the sources of the next ones are read.

    Raises:
        OutOfMemory: if not even one image at a time fits into memory.
    """
    successive = iter(rows)
    batches = iter(lambda: list(itertools.islice(successive, portions.size)), [])
    for batch, sources in _read_ahead(shelf, batches):

        def compute(part: slice) -> list[Canvas]:
            rows, read = batch[part], sources[part]  # noqa: B023
            return _compute(model, rows, read, device, size=portions.size, likeness=likeness)

        yield from portions(len(batch), compute)


def _read_ahead(
    shelf: Shelf, batches: Iterable[Sequence[PlanRow]]
) -> Iterator[tuple[list[PlanRow], list[Source]]]:
    """Batches with the sources of their rows, each in the place of a damaged one the next."""
    ahead: deque[Sequence[PlanRow]] = deque()

    def ready() -> tuple[list[PlanRow], list[Source]]:
        rows = ahead.popleft()
        sources = [shelf.take(row.source) for row in rows]
        return [replace(r, source=s.path) for r, s in zip(rows, sources, strict=True)], sources

    for rows in batches:
        for row in rows:
            shelf.ask(row.source)
        ahead.append(rows)
        if len(ahead) > AHEAD:
            yield ready()
    while ahead:
        yield ready()


@torch.no_grad()
def _compute(
    model: Model,
    rows: Sequence[PlanRow],
    sources: Sequence[Source],
    device: torch.device,
    *,
    size: int,
    likeness: Likeness | None,
) -> list[Canvas]:
    """The canvases of rows, computed as a batch of ``size`` even if they are fewer: the numbers of
    another size differ by rounding, and an image must not depend on what is painted with it, be it
    in another shard or after a job was cut short.
    """
    info, painter = model.info, model.painter
    viewer = Viewer(info.form.view)
    seen = [_seen(model, viewer, row, source) for row, source in zip(rows, sources, strict=True)]
    views, images = zip(*seen, strict=True)
    noise = [row_noise(row.seed, painter.noise_size(*viewer.frame)) for row in rows]
    labels = _filled([info.label_of(row.defect) for row in rows], size)
    on_device = torch.stack(_filled(images, size)).to(device, memory_format=torch.channels_last)
    noise_on_device = torch.stack(_filled(noise, size)).to(device)
    layer = painter.layer(on_device, painter.control(labels, device), noise_on_device)
    painted = compose(on_device, *layer)
    verdicts = _judge(model, painted, labels)[: len(rows)]
    if likeness is not None:
        near = likeness(painted, labels)
        verdicts = [v | {NEARNESS: round(n, 4)} for v, n in zip(verdicts, near, strict=False)]
    foreground, mask = layer.foreground[: len(rows)].cpu(), layer.mask[: len(rows)].cpu()
    return [
        Canvas(*canvas)
        for canvas in zip(rows, sources, views, images, foreground, mask, verdicts, strict=True)
    ]


def _filled(items: Sequence[T], size: int) -> list[T]:
    """So many items, the last one repeated where there are fewer."""
    return [*items, *[items[-1]] * (size - len(items))]


def _seen(model: Model, viewer: Viewer, row: PlanRow, source: Source) -> tuple[View, Tensor]:
    """What the model sees of a source: all of it, or the row's own window."""
    if source.whole is not None:
        return source.whole
    info, picture = model.info, source.picture
    view = viewer(picture.size, rng=np.random.default_rng(row.seed))
    return view, model_view(picture, view, info.channels, info.levels_of(picture))


def _judge(model: Model, painted: Tensor, labels: Sequence[int]) -> list[dict[str, float]]:
    """The critic's opinion of each image: its score, and how sure it is of the class."""
    if not model.painter.has_critic:
        return [{} for _ in labels]
    opinion = model.painter.opinion(painted, labels)
    return [
        {"critic_score": round(s, 4), CONFIDENCE: round(c, 4)}
        for s, c in zip(opinion.score.tolist(), opinion.confidence.tolist(), strict=True)
    ]
