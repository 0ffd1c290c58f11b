"""What a person watches: averaged terms, sample sheets, a plot, and a warning when masks die."""

from collections.abc import Callable
from functools import cached_property, partial
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from defectgan.data.dataset import Batches
from defectgan.files import append_json_lines, atomic_path, read_json_lines, write_json_lines
from defectgan.images import save_png, tile, to_bytes
from defectgan.memory import Portions
from defectgan.methods.base import Terms
from defectgan.model.file import below_prefix, with_prefix
from defectgan.model.painter import Painter
from defectgan.networks.compose import Painted
from defectgan.training.distributed import World

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

# Below this mean a mask covers less than ten pixels of a 64 px image: nothing is painted.
DEAD_MASK = 0.002
# So many log lines in a row with dead masks are a finding; single ones happen early on.
DEAD_LINES = 4
SAMPLES_PER_CLASS = 4
NOT_PLOTTED = (
    "step",
    "seconds",
    "seconds_per_step",
    "images_per_second",
    "data_wait",
    "skipped",
    "cls_chance",
    "kid_share_error",
)


class Averages:
    """Means of named terms over a log interval; nothing leaves the device before it ends.

    A step's terms that are not finite do not count.
    """

    def __init__(self) -> None:
        self._sums: Terms = {}  # each [2]: the sum, and how many went into it

    def add(self, terms: Terms) -> None:
        """Count a step's terms in."""
        for name, term in terms.items():
            value = torch.stack([term.double(), torch.ones_like(term, dtype=torch.float64)])
            counted = torch.where(term.isfinite(), value, torch.zeros_like(value))
            self._sums[name] = self._sums[name] + counted if name in self._sums else counted

    def share(self, world: World) -> None:
        """Let every process have the mean of what all have."""
        world.average(list(self._sums.values()))

    def total(self, name: str) -> int:
        """The sum of a term that counts something, over the interval so far."""
        return round(float(self._sums[name][0]))

    def flush(self) -> dict[str, float]:
        """The means of the terms that were finite at least once, and a fresh start."""
        pairs = {name: pair.tolist() for name, pair in self._sums.items()}
        self._sums = {}
        return {name: total / n for name, (total, n) in pairs.items() if n}

    def state(self) -> dict[str, Tensor]:
        """For the checkpoint: an interval that a kill cuts in two still gets its own mean."""
        return with_prefix("averages", self._sums)

    def restore(self, tensors: dict[str, Tensor], device: torch.device) -> None:
        """Take over what ``state`` gave, onto the device that the terms come from."""
        sums = below_prefix("averages", tensors)
        self._sums = {name: pair.to(device) for name, pair in sums.items()}


class Stats:
    """``stats.jsonl``: a line each log interval."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._dead = 0

    def rewind(self, step: int) -> None:
        """Drop the lines after a step: a killed run had gone on beyond what it had saved."""
        if self._path.is_file():
            kept = [line for line in read_json_lines(self._path) if line["step"] <= step]
            write_json_lines(self._path, kept)

    def append(self, line: dict[str, Any]) -> str | None:
        """Write a line; returns a warning where the masks have been dead for long."""
        append_json_lines(self._path, [line])
        # They are missing where no step of the interval was finite.
        mask = min(line.get("mask_deface", 1.0), line.get("mask_restore", 1.0))
        self._dead = self._dead + 1 if mask < DEAD_MASK else 0
        if self._dead % DEAD_LINES or not self._dead:
            return None
        return (
            f"masks are dead: the mean is {mask:.4f} at step {line['step']} and nothing is "
            "painted. Train with "
            "another seed, a lower method.sd_con or method.rec"
        )


class Events:
    """TensorBoard events of the log lines, where tensorboard is installed; none without a
    folder.
    """

    def __init__(self, folder: Path | None, *, first_step: int) -> None:
        self._writer = None
        if folder is not None and find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder), purge_step=first_step)

    def append(self, line: dict[str, Any]) -> None:
        """Add a line of stats.jsonl.

        Raises:
            OSError: if they cannot be written; there will be no more of them.
        """
        if self._writer is not None:
            try:
                for name, value in line.items():
                    self._writer.add_scalar(name, value, line["step"])
            except OSError:
                self._writer = None
                raise

    def close(self) -> None:
        """Write what is left.

        Raises:
            OSError: if it cannot be written.
        """
        if self._writer is not None:
            self._writer.close()


def plot_losses(path: Path, lines: list[dict[str, Any]]) -> None:
    """Draw the named terms over the steps as PNG.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.use("agg")
    names = [name for name in dict.fromkeys(chain(*lines)) if name not in NOT_PLOTTED]
    columns = 4
    figure = Figure(figsize=(12, 2.2 * -(-len(names) // columns)), layout="constrained")
    for k, name in enumerate(names):
        axes = figure.add_subplot(-(-len(names) // columns), columns, k + 1)
        known = [line for line in lines if name in line]
        # A line through one point would not be seen.
        marker = "o" if len(known) == 1 else ""
        axes.plot([line["step"] for line in known], [line[name] for line in known], marker=marker)
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=7)
    with atomic_path(path) as part:
        figure.savefig(part, format="png", dpi=110)


class Sampler:
    """Sample sheets of fixed images with fixed noise, so that two sheets differ by the training
    alone.

    A row a class: normal | defaced | mask for each sample, then defect | restored | mask, where
    the method restores; of a method that paints on nothing: real | made.
    """

    def __init__(
        self,
        batches: Batches,
        *,
        device: torch.device,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Args: where the images come from, where to compute, and who is told where so many at once
        do not fit into memory.
        """
        self._batches, self._device = batches, device
        self._portions = Portions(SAMPLES_PER_CLASS, "images of the sample sheet", say)

    def sheet(self, path: Path, painter: Painter) -> None:
        """Paint and write the sheet."""
        if not painter.method.paints_on_images:
            self._sheet_of_made(path, painter)
            return
        cells: list[Pixels] = []
        both = painter.method.restores
        for k, (normal, known) in enumerate(self._images, start=1):
            for images, label in ((normal, k), (known, 0))[: 1 + both]:
                painted, mask = self._paint(painter, images, label, seed=0)
                for image, result, opacity in zip(images, painted, mask, strict=True):
                    cells += [to_bytes(image), to_bytes(result), to_bytes(opacity * 2 - 1)]
        save_png(path, tile(cells, columns=3 * (1 + both) * SAMPLES_PER_CLASS))

    def _sheet_of_made(self, path: Path, painter: Painter) -> None:
        cells: list[Pixels] = []
        normal, _ = self._images[0]
        for k, real in enumerate([normal, *(known for _, known in self._images)]):
            # Rows of a method that is told no class would all be the same by one seed.
            made = self._paint(painter, real, k, seed=k).image
            for image, result in zip(real, made, strict=True):
                cells += [to_bytes(image), to_bytes(result)]
        save_png(path, tile(cells, columns=2 * SAMPLES_PER_CLASS))

    def _paint(self, painter: Painter, images: Tensor, label: int, *, seed: int) -> Painted:
        rng = torch.Generator(self._device).manual_seed(seed)
        return painter.paint_class(images, label, rng, portions=self._portions)

    @cached_property
    def _images(self) -> list[tuple[Tensor, Tensor]]:
        """Normal images and defects of each class, of the same data sets, from the first sheet
        on.
        """
        fixed, device = self._batches.fixed, self._device
        shown = partial(fixed, count=SAMPLES_PER_CLASS)
        return [
            (shown(0, beside=k).to(device), shown(k, beside=k).to(device))
            for k in range(1, len(self._batches.images.index.classes))
        ]
