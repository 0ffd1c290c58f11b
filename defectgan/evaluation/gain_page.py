"""The answer as a page: first what to do, then how sure that is, the arms side by side, and the
images that they get wrong.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from defectgan.evaluation.arms import ASKED, GOOD_ONLY, Material, SeenByClass
from defectgan.evaluation.frozen import FROZEN
from defectgan.evaluation.gain_figures import defect_scores
from defectgan.evaluation.gain_intervals import Answers
from defectgan.evaluation.gain_report import Sheet, said
from defectgan.evaluation.gain_verdict import GainVerdict, share_of
from defectgan.evaluation.pools import Pixels
from defectgan.images import from_unit, unit
from defectgan.metrics.refusal import threshold_at
from defectgan.pages import encoded, write_page

Entry = Mapping[str, Any]
# Thumbnails in a group, and examples of a class.
SHOWN, EXAMPLES = 12, 6
SIDE = 96
# What is told of the classes comes in this order, the images that make the difference first.
GROUPS = (
    ("better", "Defects that are caught more often with the generated images"),
    ("worse", "Defects that are caught less often with them"),
    ("missed", "Other defects that are missed most often"),
    ("refused", "Good parts that are refused most often"),
)


class Strip(NamedTuple):
    """An interval drawn along an axis from 0 to 100: where it begins and ends, its value, and the
    place of no gain, None for what is no gain.
    """

    low: float
    value: float
    high: float
    zero: float | None

    @classmethod
    def along(cls, bounds: Sequence[float], start: float, end: float) -> "Strip":
        value, low, high = (100 * (b - start) / (end - start) for b in bounds)
        return cls(low, value, high, 100 * -start / (end - start) if start < 0 else None)


class Line(NamedTuple):
    """A row of the table."""

    entry: Entry
    level: Sequence[float]
    level_strip: Strip
    gain: Sequence[float] | None
    gain_strip: Strip | None
    worst: tuple[str, float]
    losers: tuple[str, ...]


class ShownImage(NamedTuple):
    """A test image: its thumbnail, class and name, and beside each arm how often it is refused, and
    what it is called most often, None by what knows no classes.
    """

    thumbnail: str
    label: str
    name: str
    answers: list[tuple[float, str | None]]


def write_gain_page(
    path: Path,
    entries: Sequence[Entry],
    sheet: Sheet,
    facts: Mapping[str, Any],
    verdict: GainVerdict | None,
    choice: Sequence[tuple[str, float, bool]],
    answers: Answers,
    material: Material,
) -> None:
    """Write the page, whole or not at all.

    Args:
        path: where to.
        entries: the arms, with their intervals.
        sheet: how they were compared.
        facts: where they come from, name by name.
        verdict: what to do; None if that was not asked.
        choice: the settings that were tried on validation images: name, score, whether chosen.
        answers: what the networks say of the test images.
        material: the images.
    """
    net = verdict.evidence[0].net if verdict else entries[-1]["net"]
    write_page(
        path,
        "defectgan.evaluation",
        "gain",
        title=facts["title"],
        facts={name: said(value) for name, value in facts.items() if name != "title"},
        verdict=verdict,
        figure=sheet.main,
        share=sheet.main.removeprefix("caught at "),
        rate=facts["defect rate"],
        tiles=_tiles(entries, sheet.main, verdict),
        nets=_lines(sorted(entries, key=lambda e: e["net"] != net), sheet.main),
        classes=answers.classes,
        each=[e for e in entries if e["net"] == net or e["arm"] == GOOD_ONLY],
        net=net,
        confusions=_confusions(answers, net, entries),
        choice=choice,
        columns=_columns(entries, net),
        groups=_groups(answers, net, entries, sheet.main, material.test),
        examples=_examples(material, answers.classes),
    )


def _tiles(
    entries: Sequence[Entry], figure: str, verdict: GainVerdict | None
) -> list[tuple[str, Entry, Sequence[float]]]:
    """The figures that are read first: without, with, and by good parts alone."""
    net = verdict.evidence[0].net if verdict else None
    kinds = {
        (net, ASKED.baseline): "without generated images",
        (net, ASKED.name): "with them",
        (FROZEN, GOOD_ONLY): "by a detector of good parts alone",
    }
    return [
        (label, entry, entry["figures"][figure][""])
        for (net, arm), label in kinds.items()
        for entry in entries
        if (entry["net"], entry["arm"]) == (net, arm)
    ]


def _lines(entries: Sequence[Entry], figure: str) -> dict[str, list[Line]]:
    """The rows of the table by network; all gains are drawn at one scale."""
    gains = [e["gains"][figure][""] for e in entries if "gains" in e]
    most = max((abs(b) for bounds in gains for b in bounds), default=0) or 1
    lines: dict[str, list[Line]] = {}
    for e in entries:
        levels = e["figures"][figure]
        each = {name: bounds[0] for name, bounds in levels.items() if name}
        gain = e["gains"][figure] if "gains" in e else None
        worst = min(each, key=lambda name: each[name])
        line = Line(
            e,
            levels[""],
            Strip.along(levels[""], 0, 1),
            gain and gain[""],
            gain and Strip.along(gain[""], -most, most),
            (worst, each[worst]),
            tuple(name for name, bounds in (gain or {}).items() if name and bounds[0] < 0),
        )
        lines.setdefault(e["net"], []).append(line)
    return lines


def _confusions(
    answers: Answers, net: str, entries: Sequence[Entry]
) -> list[tuple[str, NDArray[np.float64]]]:
    """Of the arms that the question is about, the share [K, K] of each true class that is called
    another, the mean over trainings.
    """
    found = []
    for arm in (ASKED.baseline, ASKED.name):
        tables = [
            np.array(row["confusion"], float)
            for row in answers.rows
            if (row["net"], row["arm"]) == (net, arm)
        ]
        if arm is not None and tables:
            mean = np.mean(tables, axis=0)
            found.append((arm, mean / mean.sum(1, keepdims=True)))
    return found


def _columns(entries: Sequence[Entry], net: str) -> list[tuple[str, str]]:
    """The arms that stand side by side: those of one network, and the detector."""
    return [(e["net"], e["arm"]) for e in entries if e["net"] == net or e["arm"] == GOOD_ONLY]


def _groups(
    answers: Answers, net: str, entries: Sequence[Entry], figure: str, test: SeenByClass
) -> list[tuple[str, list[ShownImage]]]:
    """Test images by what the arms make of them, those first by which they differ most."""
    columns = _columns(entries, net)
    truth = answers.yardstick().truth
    refused, called = zip(
        *(_answers(answers, column, share_of(figure), truth) for column in columns), strict=True
    )
    names = [arm for _, arm in columns]
    images = [seen.image for members in test for seen in members]
    files = [sample.file.name for members in answers.members for sample in members]
    change = np.zeros(len(truth))
    if ASKED.name in names and ASKED.baseline in names:
        with_, without = (names.index(arm) for arm in (ASKED.name, ASKED.baseline))
        change = refused[with_] - refused[without]
    mean, defect = np.mean(refused, axis=0), truth > 0
    ranks = {
        "better": np.where(defect, change, 0),
        "worse": np.where(defect, -change, 0),
        "missed": np.where(defect & (change == 0), 1 - mean, 0),
        "refused": np.where(defect, 0, mean),
    }
    groups = []
    for key, title in GROUPS:
        order = np.argsort(-ranks[key], kind="stable")[:SHOWN]
        chosen = [int(i) for i in order if ranks[key][i] > 0]
        shown = [
            ShownImage(
                _thumbnail(images[i]),
                answers.classes[truth[i]],
                files[i],
                [(float(r[i]), c and c[i]) for r, c in zip(refused, called, strict=True)],
            )
            for i in chosen
        ]
        if shown:
            groups.append((title, shown))
    return groups


def _answers(
    answers: Answers, column: tuple[str, str], share: float, truth: NDArray[np.int64]
) -> tuple[NDArray[np.float64], list[str] | None]:
    """Of each image the share [N] of trainings that refuse it, and what it is called most often."""
    told = answers.said(*column)
    told = told.reshape(-1, *told.shape[2:])
    scores = [defect_scores(one) for one in told]
    refused = np.mean([one > threshold_at(one[truth == 0], share) for one in scores], axis=0)
    if told.shape[-1] == 1:
        return refused, None
    named = told.argmax(-1).T.tolist()
    return refused, [answers.classes[Counter(some).most_common(1)[0][0]] for some in named]


def _examples(material: Material, classes: Sequence[str]) -> list[tuple[str, list[Any]]]:
    """Of each class real images, and what was added to them: those of one generator."""
    painter = next(iter(material.synthetic), None)
    kinds: list[tuple[str, SeenByClass]] = [("real", material.train)]
    if painter is not None:
        kinds += [
            ("synthetic", material.synthetic[painter]),
            ("taken away again", material.control.get(painter, ())),
        ]
    kinds.append(("procedural", material.procedural))
    return [
        (name, [(kind, _some(pool[k])) for kind, pool in kinds if len(pool) > k and pool[k]])
        for k, name in enumerate(classes)
        if k
    ]


def _some(members: Sequence[Any]) -> list[str]:
    return [_thumbnail(seen.image) for seen in members[:EXAMPLES]]


def _thumbnail(image: Pixels) -> str:
    return encoded(from_unit(unit(image), np.dtype(np.uint8)), side=SIDE)
