"""What the model paints, before it is composed: a batch of layers, each with all that finishing it
takes.
"""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from defectgan.generation.checks import CONFIDENCE, NEARNESS, REALISM, SCORE
from defectgan.generation.layer import PaintedSource, paint_source
from defectgan.generation.likeness import Likeness
from defectgan.generation.plan import PlanRow
from defectgan.generation.region import Placed, Placer, control_of
from defectgan.generation.shelf import Blank, Shelf, Source
from defectgan.generation.style import Style
from defectgan.generation.where import Region
from defectgan.memory import Portions
from defectgan.model.file import Model
from defectgan.model.pixels import model_view, row_noise
from defectgan.networks.compose import compose
from defectgan.networks.generator import Layer
from defectgan.views import View, Viewer

T = TypeVar("T")

# Batches whose sources are read ahead: they may be large.
AHEAD = 1


class Begun(NamedTuple):
    """An image with defects on it: its ``clean`` source, the same as ``painted`` so far, and where
    no further defect shall be, [H, W].
    """

    clean: Source
    painted: Source
    taken: Region


class Try(NamedTuple):
    """A row that is to be painted, on its source or on what was ``begun`` of its image."""

    row: PlanRow
    begun: Begun | None = None


@dataclass(frozen=True)
class Canvas:
    """A row with all that is needed to finish it; ``placed`` is where it may be painted, None where
    the model chooses, ``origin`` [.] what the model takes to give what is finer than it sees, None
    where it knows nothing finer.
    """

    row: PlanRow
    source: Source
    view: View
    image: Tensor
    placed: Placed | None
    foreground: Tensor
    mask: Tensor
    origin: Tensor | None
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

    @property
    def realism(self) -> float:
        """How far the critic's score lies above that of the good image."""
        return self.verdict[REALISM]

    @property
    def region(self) -> Region | None:
        """The part of the window that may be painted."""
        return None if self.placed is None else self.placed.region

    @torch.no_grad()
    def painted(self, model: Model, device: torch.device) -> PaintedSource:
        """The layer in the pixels of the source. What of it is finer than the model sees is as it
        was also where the layer is stronger than it was painted.
        """
        detail = None
        if self.origin is not None:
            detail = model.painter.detail(self.origin[None].to(device))[0].cpu()
        return paint_source(
            self.source.picture,
            self.view,
            self.image,
            self.foreground,
            self.mask,
            self.source.levels,
            detail,
            self.region,
        )

    def apart(self) -> "Canvas":
        """Without the batch that it was computed in: it may have to wait."""
        return replace(self, foreground=self.foreground.clone(), mask=self.mask.clone())


class NoRoom(NamedTuple):
    """A row for which there is no room on its image."""

    row: PlanRow


Result = Canvas | NoRoom


class Easel:
    """Paints rows with a model, as many at once as fit."""

    def __init__(
        self,
        shelf: Shelf | Blank,
        portions: Portions,
        model: Model,
        device: torch.device,
        *,
        style: Style | None = None,
        placed: bool = False,
        compared: bool = False,
        likeness: Likeness | None = None,
    ) -> None:
        """What paints.

        Args:
            shelf: reads sources.
            portions: how many are painted at once.
            model: paints.
            device: where it does.
            style: in whose manner all are painted; None leaves it to their seeds.
            placed: whether each defect has a region of its own.
            compared: whether the critic shall say how real each is beside its good image.
            likeness: tells how near each is to examples, where more like them is wanted.
        """
        self._compared, self._likeness, self._style = compared, likeness, style
        self._shelf, self._portions, self._model, self._device = shelf, portions, model, device
        self._placer = Placer(model) if placed else None
        self._viewer = Viewer(model.info.form.view)

    def __call__(self, tries: Iterable[Try]) -> Iterator[list[Result]]:
        """What becomes of each, in order, while the sources of the next ones are read.

        Raises:
            OutOfMemory: if not even one image at a time fits into memory.
            DataError: if all sources are damaged, or a mask does not fit its image.
        """
        successive = iter(tries)
        batches = iter(lambda: list(itertools.islice(successive, self._portions.size)), [])
        for batch, sources in self._read_ahead(batches):

            def compute(part: slice) -> list[Result]:
                return self._compute(batch[part], sources[part])  # noqa: B023

            yield from self._portions(len(batch), compute)

    def _read_ahead(
        self, batches: Iterable[Sequence[Try]]
    ) -> Iterator[tuple[list[Try], list[Source]]]:
        """Batches with the sources of their rows, each in the place of a damaged one the next."""
        ahead: deque[Sequence[Try]] = deque()

        def ready() -> tuple[list[Try], list[Source]]:
            tries = ahead.popleft()
            sources = [b.painted if b else self._shelf.take(row.source) for row, b in tries]
            rows = [replace(t.row, source=s.path) for t, s in zip(tries, sources, strict=True)]
            return [Try(row, t.begun) for row, t in zip(rows, tries, strict=True)], sources

        for tries in batches:
            for row, begun in tries:
                if begun is None:
                    self._shelf.ask(row.source)
            ahead.append(tries)
            if len(ahead) > AHEAD:
                yield ready()
        while ahead:
            yield ready()

    def _compute(self, tries: Sequence[Try], sources: Sequence[Source]) -> list[Result]:
        """What becomes of each: where there is no room, nothing is painted."""
        seen = [self._seen(one, source) for one, source in zip(tries, sources, strict=True)]
        open_ = [i for i, one in enumerate(seen) if one is not None]
        made: list[Result] = [NoRoom(row) for row, _ in tries]
        if open_:
            rows = [tries[i].row for i in open_]
            painted = self._paint(
                rows, [sources[i] for i in open_], [one for one in seen if one is not None]
            )
            for i, canvas in zip(open_, painted, strict=True):
                made[i] = canvas
        return made

    @torch.no_grad()
    def _paint(
        self, rows: Sequence[PlanRow], sources: Sequence[Source], seen: Sequence["_Seen"]
    ) -> list[Canvas]:
        """Computed as a full batch even if they are fewer: the numbers of another size differ by
        rounding, and an image must not depend on what is painted with it, be it in another shard or
        after a job was cut short.
        """
        info, painter, device = self._model.info, self._model.painter, self._device
        count, size = len(rows), self._portions.size
        rows, seen = _filled(rows, size), _filled(seen, size)
        images = torch.stack([one.image for one in seen])
        numbers = painter.noise_size(*self._viewer.frame)
        noise = torch.stack([row_noise(row.seed, numbers) for row in rows])
        labels = [info.label_of(row.defect) for row in rows]
        on_device = images.to(device, memory_format=torch.channels_last)
        cover = _cover([one.placed for one in seen], device)
        control = _asked(painter.control(labels, device), cover)
        layer, origin = painter.painting(
            on_device, control, noise.to(device), self._reference(len(rows))
        )
        layer = as_strong(layer, on_device, [row.wishes.strength for row in rows])
        if cover is not None:
            layer = layer._replace(mask=layer.mask * cover)
        # Each defect is judged alone, as if there were no earlier ones on its image.
        clean = torch.stack([one.clean for one in seen])
        ground = clean.to(device, memory_format=torch.channels_last)
        painted = compose(ground, *layer)
        verdicts = _judge(self._model, painted, labels, ground if self._compared else None)
        if self._likeness is not None:
            near = self._likeness(painted, labels)
            verdicts = [v | {NEARNESS: round(n, 4)} for v, n in zip(verdicts, near, strict=True)]
        foreground, mask = layer.foreground[:count].cpu(), layer.mask[:count].cpu()
        origins = [None] * count if origin is None else origin[:count].cpu()
        return [
            Canvas(row, source, one.view, one.image, one.placed, *made)
            for row, source, one, *made in zip(
                rows[:count],
                sources,
                seen[:count],
                foreground,
                mask,
                origins,
                verdicts[:count],
                strict=True,
            )
        ]

    def _reference(self, count: int) -> Tensor | None:
        """The picture in whose manner so many images are painted."""
        if self._style is None:
            return None
        return self._style.image.to(self._device).expand(count, -1, -1, -1)

    def _seen(self, one: Try, source: Source) -> "_Seen | None":
        """What the model sees of a source: all of it, or the row's own window, and where it may
        paint; None where there is no room.
        """
        row, begun = one
        placed = None
        if self._placer is not None:
            placed = self._placer(row, source.picture.size, begun and begun.taken)
            if placed is None:
                return None
        view = placed and placed.view
        if view is None and source.whole is None:
            view = self._viewer(source.picture.size, rng=np.random.default_rng(row.seed))
        view, image = self._view(source, view)
        return _Seen(view, image, placed, self._view(begun.clean, view)[1] if begun else image)

    def _view(self, source: Source, view: View | None) -> tuple[View, Tensor]:
        """A view of a source; None is all of it."""
        if source.whole is not None:
            return source.whole
        assert view is not None
        return view, model_view(source.picture, view, self._model.info.channels, source.levels)


class _Seen(NamedTuple):
    """What the model sees of an image, and the same without earlier defects."""

    view: View
    image: Tensor
    placed: Placed | None
    clean: Tensor


def _filled(items: Sequence[T], size: int) -> list[T]:
    """So many items, the last one repeated where there are fewer."""
    return [*items, *[items[-1]] * (size - len(items))]


def _cover(placed: Sequence[Placed | None], device: torch.device) -> Tensor | None:
    """How much of each pixel of the frames lies in a region, [B, 1, H, W]; None: no place is
    asked for.
    """
    covers = [one.cover() for one in placed if one is not None]
    return torch.stack(covers).to(device) if covers else None


def _asked(label: Tensor, cover: Tensor | None) -> Tensor:
    """The control maps that ask for classes [B, K, 1, 1], in their regions where there are any."""
    return label if cover is None else control_of(cover, label)


def as_strong(layer: Layer, image: Tensor, strengths: Sequence[float]) -> Layer:
    """A layer over images [B, C, H, W], its change scaled: below 1 by its opacity, above by its
    colour; at 1 it is the layer itself.
    """
    if all(strength == 1 for strength in strengths):
        return layer
    scale = torch.tensor(strengths, device=image.device).view(-1, 1, 1, 1)
    stronger = (image + scale * (layer.foreground - image)).clamp(-1, 1)
    return layer._replace(
        foreground=torch.where(scale > 1, stronger, layer.foreground),
        mask=layer.mask * scale.clamp(max=1),
    )


def _judge(
    model: Model, painted: Tensor, labels: Sequence[int], clean: Tensor | None
) -> list[dict[str, float]]:
    """The critic's opinion of each image: its score, how sure it is of the class, and how far the
    score lies above that of the ``clean`` image: what is painted on counts for most of a score.
    """
    if not model.painter.has_critic:
        return [{} for _ in labels]
    opinion = model.painter.opinion(painted, labels)
    said = {SCORE: opinion.score, CONFIDENCE: opinion.confidence}
    if clean is not None:
        said[REALISM] = opinion.score - model.painter.opinion(clean, labels).score
    lists = [[round(value, 4) for value in values.tolist()] for values in said.values()]
    return [dict(zip(said, values, strict=True)) for values in zip(*lists, strict=True)]
