"""What a network is worth, from what it says of test images: how often it is right, and how many
defects it catches while it refuses few good parts.

N images, K classes (0 = normal), R resamples. What a network says is [N, K] logits, or [N, 1] a
defect score of one that knows no classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from defectgan.metrics.arrays import Figures
from defectgan.metrics.confusion import accuracy, confusions, macro_f1, recalls
from defectgan.metrics.refusal import SHARES, measurable_shares, recall_at

Said = NDArray[np.float32]
# The share of refused good parts that decides.
MAIN = 0.01
CAUGHT = "caught at "


def defect_scores(said: Said) -> NDArray[np.float64]:
    """How likely each image is a defect, [N], in any unit: the log odds of 1 - p(normal), which are
    as fine near 1 as elsewhere.
    """
    said = said.astype(np.float64)
    if said.shape[-1] == 1:
        return np.asarray(said[..., 0])
    return np.asarray(np.logaddexp.reduce(said[..., 1:], axis=-1) - said[..., 0])


def shares_of(good: int) -> tuple[float, ...]:
    """The shares of refused good parts that so many good images can show; of very few the largest
    one, where none of them is refused.
    """
    return measurable_shares(good) or SHARES[:1]


class Part(NamedTuple):
    """Which of the figures of a ``ClassifierFigures`` has which name."""

    name: str
    of: str = ""


class Measure(Protocol):
    """Tells the figures of a network from what it says of N images."""

    @property
    def parts(self) -> list[Part]:
        """The names of the figures, in their order."""
        ...

    @property
    def strata(self) -> NDArray[np.int64]:
        """What pieces are drawn within, [N]."""
        ...

    def __call__(self, said: NDArray[Any], counts: Figures) -> Figures:
        """The figures [R, M] of what is said [N, ...] of images that each of R resamples holds so
        often, counts [R, N].
        """
        ...


@dataclass(frozen=True)
class ClassifierFigures:
    """Tells the figures of a network on images of K classes, of which ``counts`` says how many of
    each there are, those of a class side by side; ``named`` where networks name the class.
    """

    classes: tuple[str, ...]
    counts: tuple[int, ...]
    named: bool = True

    @property
    def truth(self) -> NDArray[np.int64]:
        """The class of each image, [N]."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @property
    def strata(self) -> NDArray[np.int64]:
        """What pieces are drawn within, [N]: no resample is without a class."""
        return self.truth

    @property
    def parts(self) -> list[Part]:
        """The names of the figures, in their order."""
        shares = shares_of(self.counts[0])
        caught = [Part(f"{CAUGHT}{percent(s)}", c) for s in shares for c in ("", *self.classes[1:])]
        if not self.named:
            return caught
        recalled = [Part("recall", name) for name in self.classes]
        return [Part("accuracy"), Part("macro_f1"), Part("balanced"), *recalled, *caught]

    def __call__(self, said: Said, counts: Figures) -> Figures:
        """The figures [R, M] of what is said [N, K] of images that each of R resamples holds so
        often, counts [R, N].
        """
        found = [self._caught(said, counts, share) for share in shares_of(self.counts[0])]
        if not self.named:
            return np.concatenate(found, axis=1)
        confusion = confusions(self.truth, said.argmax(-1), counts, classes=len(self.classes))
        recall = recalls(confusion)
        whole = (accuracy(confusion), macro_f1(confusion), np.nanmean(recall, axis=-1))
        return np.concatenate([np.stack(whole, axis=1), recall, *found], axis=1)

    def _caught(self, said: Said, counts: Figures, share: float) -> Figures:
        return recall_at(defect_scores(said), self.truth, counts, share=share, k=len(self.classes))


def percent(share: float) -> str:
    """``1 %``."""
    return f"{100 * share:g} %"


def scores(said: Said, counts: Sequence[int], classes: Sequence[str]) -> dict[str, Any]:
    """The figures of one network for a row: those of the whole by name, those of classes by name
    and class, and where it names classes the confusion [K, K], a row a true class.
    """
    yardstick = ClassifierFigures(tuple(classes), tuple(counts), named=said.shape[1] > 1)
    once = np.ones((1, len(said)))
    figures = yardstick(said, once)[0]
    told: dict[str, Any] = {}
    for part, value in zip(yardstick.parts, figures.tolist(), strict=True):
        if part.of:
            told.setdefault(_each(part.name), {})[part.of] = value
        else:
            told[part.name] = value
    if yardstick.named:
        made = confusions(yardstick.truth, said.argmax(-1), once, classes=len(classes))[0]
        told["confusion"] = made.astype(int).tolist()
    return told


def _each(name: str) -> str:
    return name if name == "recall" else f"{name} of each"
