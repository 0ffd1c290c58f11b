"""Where, and how large, the real defects of a class are, by what a model keeps of them."""

from functools import cached_property
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from defectgan.errors import ModelError
from defectgan.methods.exemplar import BANK
from defectgan.model.file import Model
from defectgan.networks.exemplars import CELL, Bank
from defectgan.views import View, Viewer

# The share of a cell, of the most that a defect takes of any, from which on it belongs to it.
CORE = 0.25
# Of the widths and heights of real defects: the region of a new one holds most of them.
MOST = 0.75
# Cells on each side by which a defect is fitted into its surroundings.
RIM = 1


class Heat(NamedTuple):
    """``likely`` [h, w] is the mean share of each cell of a frame that real defects take; ``high``
    and ``wide`` are what holds most of them, in frame pixels.
    """

    likely: NDArray[np.float64]
    high: int
    wide: int

    def draw(
        self, free: NDArray[np.bool_], view: View, rng: np.random.Generator
    ) -> tuple[int, int] | None:
        """A free pixel, row and column, of the image that a view shows whole; the likelier the
        hotter it is there. None where it is hot nowhere that is free.
        """
        rows, columns = (
            _cells(length, inside, start, cells)
            for length, inside, start, cells in zip(
                free.shape,
                (view.inside.height, view.inside.width),
                (view.inside.top, view.inside.left),
                self.likely.shape,
                strict=True,
            )
        )
        # All pixels of a cell are as likely as each other, so it takes a cell and one of them.
        shape = self.likely.shape
        index = rows[:, None] * shape[1] + columns[None]
        open_ = np.bincount(index[free], minlength=self.likely.size).reshape(shape)
        weight = np.where(open_ > 0, self.likely, 0).ravel()
        if not weight.any():
            return None
        cell = rng.choice(weight.size, p=weight / weight.sum())
        row, column = divmod(int(cell), shape[1])
        inside_rows, inside_columns = (
            np.flatnonzero(rows == row),
            np.flatnonzero(columns == column),
        )
        there = np.argwhere(free[np.ix_(inside_rows, inside_columns)])
        y, x = there[rng.integers(len(there))]
        return int(inside_rows[y]), int(inside_columns[x])


def _cells(length: int, inside: int, start: int, cells: int) -> NDArray[np.int64]:
    """The cell in which each pixel along one side of an image lies."""
    place = start + (np.arange(length) + 0.5) * (inside / length)
    return np.minimum((place / CELL).astype(np.int64), cells - 1)


class Learned:
    """The heat of each class of a model."""

    def __init__(self, model: Model) -> None:
        """Raises: ModelError: if the model cannot say where defects are; says why."""
        info, networks = model.info, model.painter.networks
        why = None
        if BANK not in networks:
            why = (
                f"it is of the method {info.form.method.name}, and only one of the method exemplar "
                "keeps where its restoration found real defects"
            )
        elif not Viewer(info.form.view).whole:
            why = (
                "it sees windows of images, and a place in a window says nothing of one in an image"
            )
        if why is not None:
            raise ModelError(
                f"{model.path} does not know where defects are: {why}; name a box or masks instead"
            )
        self._model = model

    @cached_property
    def _bank(self) -> Bank:
        return cast(Bank, self._model.painter.networks[BANK])

    def __call__(self, defect: str) -> Heat:
        """Of a class.

        Raises:
            ModelError: if no restoration has found a defect of that class.
        """
        k = self._model.info.label_of(defect)
        count = int(self._bank.count[k - 1])
        share = self._bank.code[self._bank.places(k)][:count, -1].cpu()
        if not count:
            raise ModelError(
                f"{self._model.path} does not know where defects of the class {defect} are: its "
                "restoration found none; name a box or masks instead"
            )
        return Heat(share.mean(0).double().numpy(), _usual(share, 1), _usual(share, 2))


def _usual(share: Tensor, axis: int) -> int:
    """What holds most of the defects [E, h, w] along an axis, in frame pixels."""
    core = share > CORE * share.amax((1, 2), keepdim=True)
    along = core.any(dim=3 - axis).numpy()
    lengths = [int(np.ptp(np.flatnonzero(one))) + 1 for one in along]
    cells = int(np.ceil(np.quantile(lengths, MOST))) + 2 * RIM
    return min(cells, share.shape[axis]) * CELL


def refuse_unlearned(model: Model, defects: tuple[str, ...]) -> None:
    """Make sure that a model knows where defects of these classes are.

    Raises:
        ModelError: if it does not; says why.
    """
    learned = Learned(model)
    for defect in defects:
        learned(defect)
