"""What a test of the gain comes to: each arm beside its baseline, as a table, a plot and files that
stay.

The arms of one seed began with the same weights and drew the same classes: differences are taken
between trainings of the same generator and seed.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from defectgan.errors import SettingError
from defectgan.evaluation.arms import ARMS
from defectgan.evaluation.gain_intervals import Answers
from defectgan.evaluation.markdown import table_lines
from defectgan.evaluation.real import RealSplit
from defectgan.files import atomic_path, write_atomically
from defectgan.model.file import Model

Rows = Sequence[Mapping[str, Any]]
TITLES = {"accuracy": "accuracy", "macro_f1": "macro-F1", "ap": "pixel AP", "iou": "IoU"}


class Sheet(NamedTuple):
    """What a table tells: the ``metrics``, of which the last is that of the gain; ``each``, the
    score of each class; which arm each is held against, None for none; the files' ``stem``.
    """

    metrics: tuple[str, ...]
    each: str
    baselines: Mapping[str, str | None]
    stem: str

    @property
    def main(self) -> str:
        """The metric by which arms are compared first."""
        return self.metrics[-1]

    def title(self, metric: str) -> str:
        """What a person calls a metric."""
        return TITLES.get(metric, metric)


SEGMENTERS = Sheet(
    ("iou", "ap"),
    "class_ap",
    {"procedural": None, "synthetic": "procedural", "true": None},
    "segmentation",
)
CLASSIFIERS = Sheet(
    ("accuracy", "macro_f1"), "recall", {arm.name: arm.baseline for arm in ARMS.values()}, "gain"
)


def catching(figure: str) -> Sheet:
    """The table of classifiers, by how many defects they catch: ``figure`` as in their rows."""
    return CLASSIFIERS._replace(metrics=(*CLASSIFIERS.metrics, figure), each=f"{figure} of each")


def require_packages() -> None:
    """Make sure before hours of training that what a result needs is installed.

    Raises:
        SettingError: if a package is missing.
    """
    if find_spec("matplotlib") is None:
        raise SettingError(
            "a test of the gain needs matplotlib: install the extra 'evaluate' of defectgan"
        )


def compare(rows: Rows, sheet: Sheet) -> list[dict[str, Any]]:
    """One entry a network, arm and ratio, in the order in which they come.

    Args:
        rows: one a training, as ``run_gain`` returns them.
        sheet: which of their scores are averaged and compared.

    Returns:
        Of each metric and each class the mean over trainings; where the arm has a baseline,
        ``<metric>_gain`` and its ``_sd``, the standard deviation (n - 1) of the paired differences,
        None of one. A metric that an arm does not have is None.
    """
    entries = []
    kinds = dict.fromkeys((row["net"], row["arm"], row["ratio"]) for row in rows)
    for net, arm, ratio in kinds:
        mine = _of_kind(rows, net, arm, ratio)
        lengths = {row["steps"] for row in rows if row["net"] == net and "accuracy" in row}
        assert len(lengths) <= 1, "arms of different length prove nothing"
        baseline = sheet.baselines[arm]
        entry: dict[str, Any] = {
            "net": net,
            "arm": arm,
            "ratio": ratio,
            "generators": len({row["generator"] for row in mine if row["generator"]}),
            "seeds": len({row["seed"] for row in mine}),
        }
        for metric in sheet.metrics:
            values = [row[metric] for row in mine if metric in row]
            entry[metric] = float(np.mean(values)) if values else None
        entry[sheet.each] = _means([row[sheet.each] for row in mine])
        entry["baseline"] = baseline
        if baseline is not None:
            # What has nothing added stands at the ratio 0.
            other = _of_kind(rows, net, baseline, ratio) or _of_kind(rows, net, baseline, 0.0)
            pairs = list(_paired(mine, other))
            for metric in sheet.metrics:
                entry |= _gain(metric, pairs)
        entries.append(entry)
    return entries


def _means(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([one[name] for one in scores])) for name in scores[0]}


def _of_kind(rows: Rows, net: str, arm: str, ratio: float) -> list[Mapping[str, Any]]:
    return [r for r in rows if (r["net"], r["arm"], r["ratio"]) == (net, arm, ratio)]


def _paired(mine: Rows, other: Rows) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Each training beside that of the same seed and generator, or of the same seed and none."""
    found = {(row["generator"], row["seed"]): row for row in other}
    for row in mine:
        for generator in (row["generator"], ""):
            if (generator, row["seed"]) in found:
                yield row, found[generator, row["seed"]]
                break


def _gain(
    metric: str, pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]
) -> dict[str, float | None]:
    ours, theirs = ([pair[i][metric] for pair in pairs] for i in (0, 1))
    differences = np.subtract(ours, theirs)
    deviation = float(np.std(differences, ddof=1)) if len(differences) > 1 else None
    return {f"{metric}_gain": float(differences.mean()), f"{metric}_gain_sd": deviation}


def with_intervals(entries: Rows, answers: Answers) -> list[dict[str, Any]]:
    """Entries with all their figures and gains, each with its bounds of 95 %: by the
    name of the figure and by class, "" for all.
    """
    told = []
    for entry in entries:
        net, arm, baseline = entry["net"], entry["arm"], entry["baseline"]
        gains = {} if baseline is None else {"gains": answers.gain(net, arm, baseline)}
        told.append({**entry, "figures": answers.level(net, arm), **gains})
    return told


def columns(entries: Rows, sheet: Sheet) -> tuple[str, ...]:
    """The heads of the table."""
    names = [sheet.title(metric) for metric in sheet.metrics]
    sure = [f"{name} (95 %)" for name in (*names, f"gain in {names[-1]}")]
    each = entries[0][sheet.each] if entries else ()
    return ("net", "arm", "added", *sure[:-1], "over", sure[-1], *each)


def cells(entry: Mapping[str, Any], sheet: Sheet) -> list[str]:
    """An entry of ``with_intervals`` as a person reads it: figures with their bounds of 95 %."""
    return [
        entry["net"],
        entry["arm"],
        f"{entry['ratio']:g}x" if entry["ratio"] else "",
        *(_bounded(entry["figures"].get(metric)) for metric in sheet.metrics),
        entry["baseline"] or "",
        _bounded(entry.get("gains", {}).get(sheet.main), sign="+"),
        *(f"{value:.2f}" for value in entry[sheet.each].values()),
    ]


def _bounded(figure: Mapping[str, Sequence[float]] | None, *, sign: str = "") -> str:
    """A figure of all classes and its bounds; nothing of one that there is not."""
    if figure is None:
        return ""
    value, low, high = figure[""]
    return f"{value:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"


def about(real: RealSplit, models: Sequence[Model], notes: Sequence[str] = ()) -> dict[str, Any]:
    """What the figures are of; ``notes`` are what a person should know of the models."""
    return {
        "title": f"Gain on {real.index.root}",
        "data": str(real.index.root.resolve()),
        "images": real.counts(),
        "split": {"by": "the data itself, else by these shares", **real.rule},
        "left out": {
            "for fewer shots": len(real.left_out),
            "that cannot be used": len(real.index.skipped),
        },
        "further real images": real.further.counts(),
        "notes": [*real.notes, *notes],
        "generators": [
            f"{model.path} (seed {_seed(model)}, SHA-256 {model.sha256})" for model in models
        ],
    }


def _seed(model: Model) -> Any:
    """That of its training, as its file tells."""
    return json.loads(model.info.training).get("training", {}).get("seed", "unknown")


def write_gain(
    out: Path, entries: Rows, sheet: Sheet, facts: Mapping[str, Any], lines: Sequence[str] = ()
) -> dict[str, Path]:
    """Write the table as Markdown, all figures as JSON, and the plot; ``lines`` are what a person
    wants to know first.

    A test that was called again with more seeds or arms writes them anew: they are functions of its
    results.
    """
    files = {kind: out / f"{sheet.stem}.{kind}" for kind in ("md", "json", "png")}
    record = json.dumps({**facts, "says": list(lines), "table": list(entries)}, indent=1)
    write_atomically(files["json"], record.encode())
    text = [
        f"# {facts['title']}",
        "",
        *(word for line in lines for word in (line, "")),
        *(f"- {name}: {said(value)}" for name, value in facts.items() if name != "title"),
        "",
        *table_lines(columns(entries, sheet), [cells(entry, sheet) for entry in entries]),
        "",
    ]
    write_atomically(files["md"], "\n".join(text).encode())
    plot_gain(files["png"], entries, sheet)
    return files


def said(value: Any) -> str:
    """A fact as a person reads it."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {said(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return "; ".join(value) or "none"
    return "none" if value is None else str(value)


def plot_gain(path: Path, entries: Rows, sheet: Sheet) -> None:
    """Draw the arms' gains as PNG, with their intervals of 95 %."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.use("agg")
    compared = [e for e in entries if e["baseline"]]
    figure = Figure(figsize=(7.5, 1.2 + 0.36 * len(compared)), layout="constrained")
    axes = figure.subplots()
    for place, entry in enumerate(compared):
        mean, low, high = entry["gains"][sheet.main][""]
        axes.errorbar(
            [mean], [place], xerr=[[max(mean - low, 0)], [max(high - mean, 0)]], fmt="o", capsize=4
        )
    added = [f" {e['ratio']:g}x" if e["ratio"] else "" for e in compared]
    labels = [
        f"{e['arm']}{more} over {e['baseline']}, {e['net']}"
        for e, more in zip(compared, added, strict=True)
    ]
    axes.set_yticks(range(len(compared)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.axvline(0, color="0.6", linewidth=1)
    axes.set_xlabel(f"gain in {sheet.title(sheet.main)}")
    with atomic_path(path) as part:
        figure.savefig(part, format="png", dpi=120)
