"""The pipeline of a generate job: reading, computing and writing overlap."""

import hashlib
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from defectgan import __version__
from defectgan.compose import compose
from defectgan.control import constant_map, one_hot
from defectgan.errors import DataError, ModelError
from defectgan.files import sha256
from defectgan.generation.layer import model_view, paint_source
from defectgan.generation.plan import Row, Sources, another, make_plan
from defectgan.generation.writers import FolderWriter
from defectgan.images import Picture, first_sound, read_picture
from defectgan.losses import probability
from defectgan.memory import Portions
from defectgan.training.checkpoint import MODEL, Model
from defectgan.views import View, Viewer

# Batches that are read ahead, and that may wait to be written: sources may be large.
AHEAD = 1
IO_THREADS = 4
CONFIDENCE = "class_confidence"


@dataclass(frozen=True)
class Job:
    """What a generate command asks for; the same job makes the same images.

    With several ``candidates`` each image is painted so many times, on other sources too, and the
    one is kept whose class the critic is surest of.
    """

    sources: Sources
    defects: tuple[str, ...]
    n: int
    seed: int
    binary_masks: bool
    candidates: int = 1

    def check(self, model: Model) -> None:
        """Whether a model can do it.

        Raises:
            ModelError: if the model does not know a class, or has no critic to choose with.
        """
        for name in self.defects:
            model.info.label_of(name)
        if self.candidates > 1 and model.critic is None:
            raise ModelError(
                f"{model.path} holds the generator alone, and it takes the critic to choose among "
                f"{self.candidates} candidates: take the weights of a run, or one candidate"
            )

    def record(self, model: Model) -> dict[str, Any]:
        """What tells this job from another one in the same folder."""
        listed = "\n".join(str(path) for path in self.sources.files)
        return {
            MODEL: model.sha256,
            "defects": list(self.defects),
            "n": self.n,
            "seed": self.seed,
            "binary_masks": self.binary_masks,
            "candidates": self.candidates,
            "sources": len(self.sources.files),
            "sources_sha256": hashlib.sha256(listed.encode()).hexdigest(),
        }


def already_made(job: Job, model: Model, out: Path) -> int:
    """How many images of a job a folder holds; nothing is made.

    Raises:
        DataError: if the folder holds something else.
        ModelError: if the model cannot do it.
    """
    job.check(model)
    return len(FolderWriter(out, job.binary_masks, model).look(job.record(model)))


def run_job(
    job: Job,
    model: Model,
    out: Path,
    *,
    device: torch.device,
    batch_size: int,
    done: Callable[[int], None],
    say: Callable[[str], None] = lambda text: None,
) -> dict[Path, str]:
    """Make the images of a job in a folder; what is there of the same job already is not made
    again, what has been taken away since is.

    A source that turns out to be damaged is left out, and the next one takes its place.

    Args:
        job: what to make.
        model: the model, on the device.
        out: the folder, new, empty, or with a part of the same job.
        device: where to compute.
        batch_size: images computed at once; does not change them by more than rounding.
        done: called with the number of images that are there.
        say: told where so many at once do not fit into memory, and how many do.

    Returns:
        The sources that were left out, each with its reason.

    Raises:
        DataError: if all sources are damaged, or the folder holds something else; what was written
            before stays.
        ModelError: if the model cannot do it.
        OutOfMemory: if not even one image at a time fits into memory.
    """
    job.check(model)
    writer = FolderWriter(out, job.binary_masks, model)
    finished = writer.open(job.record(model))
    done(len(finished))
    plan = make_plan(job.sources.files, job.defects, n=job.n, seed=job.seed)
    rows = [row for row in plan if row.number not in finished]
    batches = (
        [another(row, job.sources.files, candidate) for row in rows[start : start + batch_size]]
        for start in range(0, len(rows), batch_size)
        for candidate in range(job.candidates)
    )
    reader = _Reader(job.sources.files)
    portions = Portions(batch_size, "images", say)
    with ThreadPoolExecutor(IO_THREADS) as pool:
        waiting: deque[list[Future[dict[str, Any]]]] = deque()

        def settle() -> None:
            futures = waiting.popleft()
            writer.record([future.result() for future in futures])
            done(len(futures))

        try:
            tries = (
                _in_portions(portions, model, batch, pictures, device)
                for batch, pictures in _read_ahead(pool, reader, batches)
            )
            for canvases in _surest(tries, job.candidates):
                waiting.append([pool.submit(_finish, writer, model, task) for task in canvases])
                if len(waiting) > AHEAD:
                    settle()
        finally:
            while waiting:
                settle()
    if finished and rows:
        writer.put_in_order()
    return reader.damaged


class _Reader:
    """Reads sources; in the place of a damaged one it takes the next that is sound."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._place = {path: i for i, path in enumerate(files)}
        self.damaged: dict[Path, str] = {}

    def __call__(self, row: Row) -> tuple[Row, Picture]:
        start = self._place[row.source]
        found = first_sound(self._files, start, Path, read_picture, self.damaged)
        if found is not None:
            source, picture = found
            return replace(row, source=source), picture
        raise DataError(f"all sources are damaged, the last: {self.damaged[row.source]}")


def _read_ahead(
    pool: ThreadPoolExecutor, reader: _Reader, batches: Iterable[Sequence[Row]]
) -> Iterator[tuple[list[Row], list[Picture]]]:
    ahead: deque[list[Future[tuple[Row, Picture]]]] = deque()

    def ready() -> tuple[list[Row], list[Picture]]:
        read = [future.result() for future in ahead.popleft()]
        return [row for row, _ in read], [picture for _, picture in read]

    for rows in batches:
        ahead.append([pool.submit(reader, row) for row in rows])
        if len(ahead) > AHEAD:
            yield ready()
    while ahead:
        yield ready()


@dataclass(frozen=True)
class _Canvas:
    """A row with all that is needed to finish it without the model."""

    row: Row
    source: Picture
    view: View
    image: Tensor
    foreground: Tensor
    mask: Tensor
    verdict: dict[str, float]


def _in_portions(
    portions: Portions,
    model: Model,
    rows: Sequence[Row],
    pictures: Sequence[Picture],
    device: torch.device,
) -> list[_Canvas]:
    made = portions(len(rows), lambda part: _compute(model, rows[part], pictures[part], device))
    return [canvas for part in made for canvas in part]


@torch.no_grad()
def _compute(
    model: Model, rows: Sequence[Row], pictures: Sequence[Picture], device: torch.device
) -> list[_Canvas]:
    info, generator = model.info, model.generator
    viewer = Viewer(info.form.view)
    views = [
        viewer(picture.size, rng=np.random.default_rng(row.seed))
        for row, picture in zip(rows, pictures, strict=True)
    ]
    images = torch.stack(
        [
            model_view(picture, view, info.channels, info.levels_of(picture))
            for picture, view in zip(pictures, views, strict=True)
        ]
    )
    noise = torch.stack([row_noise(row.seed, generator.noise_size(*viewer.frame)) for row in rows])
    labels = [info.label_of(row.defect) for row in rows]
    control = constant_map(one_hot(labels, len(info.classes)))
    on_device = images.to(device, memory_format=torch.channels_last)
    layer = generator(on_device, control.to(device), noise.to(device))
    verdicts = _judge(model, compose(on_device, *layer), labels)
    foreground, mask = layer.foreground.cpu(), layer.mask.cpu()
    return [
        _Canvas(*canvas)
        for canvas in zip(rows, pictures, views, images, foreground, mask, verdicts, strict=True)
    ]


def _surest(tries: Iterator[list[_Canvas]], candidates: int) -> Iterator[list[_Canvas]]:
    """Of so many tries in succession, for each row the one that the critic is surest of."""
    for first in tries:
        best = first
        for another_try in itertools.islice(tries, candidates - 1):
            best = [max(pair, key=_confidence) for pair in zip(best, another_try, strict=True)]
        yield best


def _confidence(canvas: _Canvas) -> float:
    return canvas.verdict[CONFIDENCE]


def row_noise(seed: int, size: int) -> Tensor:
    """The noise [N] of a row, drawn on the CPU: every device makes the same image."""
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def _judge(model: Model, painted: Tensor, labels: Sequence[int]) -> list[dict[str, float]]:
    """The critic's opinion of each image: its score, and how sure it is of the class."""
    if model.critic is None:
        return [{} for _ in labels]
    verdict = model.critic(painted)
    wanted = one_hot(list(labels), len(model.info.classes)).to(painted.device)
    confidence = probability(verdict.logits, wanted, multi_label=model.info.multi_label)
    return [
        {"critic_score": round(s, 4), CONFIDENCE: round(c, 4)}
        for s, c in zip(verdict.of(wanted).tolist(), confidence.tolist(), strict=True)
    ]


def _finish(writer: FolderWriter, model: Model, canvas: _Canvas) -> dict[str, Any]:
    """Compose at the source's own size, write, and return the manifest's row."""
    row, source = canvas.row, canvas.source
    levels, visible = model.info.levels_of(source), model.info.threshold
    painted = paint_source(
        source, canvas.view, canvas.image, canvas.foreground, canvas.mask, levels
    )
    found = painted.mask > visible * 255
    files = writer.write(row, replace(source, pixels=painted.pixels), painted.mask)
    return {
        "number": row.number,
        **files,
        "source": str(row.source),
        "source_sha256": sha256(row.source),
        "class": row.defect,
        "seed": row.seed,
        "window": list(canvas.view.window),
        "threshold": visible,
        "box": _box(found),
        "mask_area": round(float(found.mean()), 6),
        **canvas.verdict,
        MODEL: model.sha256,
        "defectgan": __version__,
        "torch": torch.__version__,
    }


def _box(found: NDArray[np.bool_]) -> list[int] | None:
    """[left, top, width, height] of what a person sees of the mask; None where that is nothing."""
    rows, columns = np.nonzero(found)
    if not len(rows):
        return None
    top, left = int(rows.min()), int(columns.min())
    return [left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1]
