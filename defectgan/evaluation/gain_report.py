"""What a test of the gain comes to: each arm beside its baseline, as a table, a plot and files that
stay.

The arms of one seed began with the same weights and drew the same classes: differences are taken
seed by seed, and the test of them is paired. It speaks of the luck of a training, not of that of
the test images.
"""

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from defectgan.errors import SettingError
from defectgan.evaluation.arms import ARMS, SWEPT
from defectgan.evaluation.markdown import table_lines
from defectgan.evaluation.real import RealSplit
from defectgan.files import atomic_path, write_atomically
from defectgan.training.checkpoint import Model

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


CLASSIFIERS = Sheet(
    ("accuracy", "macro_f1"), "recall", {arm.name: arm.baseline for arm in ARMS.values()}, "gain"
)
SEGMENTERS = Sheet(
    ("iou", "ap"),
    "class_ap",
    {"procedural": None, "synthetic": "procedural", "true": None},
    "segmentation",
)
# Differences that vary by no more are the same: this much is left by rounding.
ROUNDING = 1e-9
PACKAGES = {"sklearn": "scikit-learn", "scipy": "scipy", "matplotlib": "matplotlib"}


def require_packages() -> None:
    """Make sure before hours of training that what a result needs is installed.

    Raises:
        SettingError: if a package is missing.
    """
    if missing := [name for module, name in PACKAGES.items() if find_spec(module) is None]:
        raise SettingError(
            f"a test of the gain needs {' and '.join(missing)}: install the extra 'evaluate' of "
            "defectgan"
        )


def compare(rows: Rows, sheet: Sheet) -> list[dict[str, Any]]:
    """One entry an arm and ratio, in the order in which they come.

    Args:
        rows: one a training, as ``run_gain`` returns them.
        sheet: which of their scores are averaged and compared.

    Returns:
        Of each metric the mean and standard deviation (n - 1) over seeds, of each class the mean;
        where the arm has a baseline, ``<metric>_gain``, its ``_sd``, and ``<metric>_p`` of a paired
        t-test, None where that is not defined: for one seed, or where all differences are the same.
    """
    assert len({row["steps"] for row in rows}) <= 1, "arms of different length prove nothing"
    entries = []
    for arm, ratio in dict.fromkeys((row["arm"], row["ratio"]) for row in rows):
        mine = _by_seed(rows, arm, ratio)
        baseline = sheet.baselines[arm]
        entry: dict[str, Any] = {"arm": arm, "ratio": ratio, "seeds": len(mine)}
        for metric in sheet.metrics:
            values = [row[metric] for row in mine.values()]
            entry |= {metric: float(np.mean(values)), f"{metric}_sd": _deviation(values)}
        entry[sheet.each] = _means([row[sheet.each] for row in mine.values()])
        entry["baseline"] = baseline
        if baseline is not None:
            # What has nothing added stands at the ratio 0.
            other = _by_seed(rows, baseline, ratio) or _by_seed(rows, baseline, 0.0)
            pairs = [(mine[seed], other[seed]) for seed in mine if seed in other]
            for metric in sheet.metrics:
                entry |= _gain(metric, pairs)
        entries.append(entry)
    return entries


def _means(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([one[name] for one in scores])) for name in scores[0]}


def _by_seed(rows: Rows, arm: str, ratio: float) -> dict[int, Mapping[str, Any]]:
    return {row["seed"]: row for row in rows if (row["arm"], row["ratio"]) == (arm, ratio)}


def _gain(
    metric: str, pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]
) -> dict[str, float | None]:
    from scipy.stats import ttest_rel

    ours, theirs = ([pair[i][metric] for pair in pairs] for i in (0, 1))
    differences = np.subtract(ours, theirs)
    deviation = _deviation(differences)
    defined = deviation is not None and deviation > ROUNDING
    return {
        f"{metric}_gain": float(differences.mean()),
        f"{metric}_gain_sd": deviation,
        f"{metric}_p": float(ttest_rel(ours, theirs).pvalue) if defined else None,
    }


def _deviation(values: Any) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def columns(entries: Rows, sheet: Sheet) -> tuple[str, ...]:
    """The heads of the table."""
    names = [TITLES[metric] for metric in sheet.metrics]
    gains = ("over", f"gain in {names[-1]}", "p")
    return ("arm", "added", *names, *gains, *(entries[0][sheet.each] if entries else ()))


def cells(entry: Mapping[str, Any], sheet: Sheet) -> list[str]:
    """An entry as a person reads it; behind ± stands the standard deviation over seeds."""
    p = entry.get(f"{sheet.main}_p")
    return [
        entry["arm"],
        f"{entry['ratio']:g}x" if entry["ratio"] else "",
        *(_spread(entry, metric) for metric in sheet.metrics),
        entry["baseline"] or "",
        _spread(entry, f"{sheet.main}_gain", sign="+") if entry["baseline"] else "",
        "" if p is None else f"{p:.3f}" if p >= 0.001 else "< 0.001",
        *(f"{value:.2f}" for value in entry[sheet.each].values()),
    ]


def _spread(entry: Mapping[str, Any], name: str, *, sign: str = "") -> str:
    deviation = entry[f"{name}_sd"]
    spread = "" if deviation is None else f" ± {deviation:.3f}"
    return f"{entry[name]:{sign}.3f}{spread}"


def about(real: RealSplit, model: Model | None, notes: Sequence[str] = ()) -> dict[str, Any]:
    """What the figures are of; ``notes`` are what a person should know of the model."""
    return {
        "title": f"Gain on {real.index.root}",
        "data": str(real.index.root.resolve()),
        "images": real.counts(),
        "split": {"by": "the data itself, else by these shares", **real.rule},
        "left out": {
            "for fewer shots": len(real.left_out),
            "that cannot be used": len(real.index.skipped),
        },
        "notes": [*real.notes, *notes],
        "model": str(model.path) if model else "none",
        "model_sha256": model.sha256 if model else "none",
    }


def write_gain(out: Path, entries: Rows, sheet: Sheet, facts: Mapping[str, Any]) -> dict[str, Path]:
    """Write the table as Markdown, all figures as JSON, and the plot.

    A test that was called again with more seeds or arms writes them anew: they are functions of its
    results.
    """
    files = {kind: out / f"{sheet.stem}.{kind}" for kind in ("md", "json", "png")}
    record = json.dumps({**facts, "table": list(entries)}, indent=1)
    write_atomically(files["json"], record.encode())
    text = [
        f"# {facts['title']}",
        "",
        *(f"- {name}: {_said(value)}" for name, value in facts.items() if name != "title"),
        "",
        *table_lines(columns(entries, sheet), [cells(entry, sheet) for entry in entries]),
        "",
    ]
    write_atomically(files["md"], "\n".join(text).encode())
    plot_gain(files["png"], entries, sheet.main)
    return files


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_said(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return "; ".join(value) or "none"
    return "none" if value is None else str(value)


def plot_gain(path: Path, entries: Rows, metric: str) -> None:
    """Draw the arms' gains with their standard deviations, and the sweep of the ratio where there
    is one, as PNG.
    """
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.use("agg")
    swept = sorted((e for e in entries if e["arm"] == SWEPT), key=lambda e: e["ratio"])
    compared = [e for e in entries if e["baseline"]]
    figure = Figure(figsize=(11 if len(swept) > 1 else 6.5, 3.2), layout="constrained")
    arms, *rest = figure.subplots(1, 2 if len(swept) > 1 else 1, squeeze=False)[0]
    name = TITLES[metric]
    shown = [f"{e['arm']} {e['ratio']:g}x" if e["ratio"] else e["arm"] for e in compared]
    labels = [f"{text} over {e['baseline']}" for text, e in zip(shown, compared, strict=True)]
    _bars(arms, range(len(compared)), compared, f"{metric}_gain", vertical=False)
    arms.set_yticks(range(len(compared)), labels, fontsize=8)
    arms.invert_yaxis()
    arms.axvline(0, color="0.6", linewidth=1)
    arms.set_xlabel(f"gain in {name}")
    for axes in rest:
        base = next(e for e in entries if e["arm"] == ARMS[SWEPT].baseline)
        points = [base, *swept]
        _bars(axes, [e["ratio"] for e in points], points, metric, vertical=True)
        axes.set_xlabel("synthetic images a real one of a defect")
        axes.set_ylabel(f"{name} with classical augmentation")
    with atomic_path(path) as part:
        figure.savefig(part, format="png", dpi=120)


def _bars(axes: Any, places: Sequence[float], entries: Rows, name: str, *, vertical: bool) -> None:
    """Means with their standard deviations, along one axis or the other."""
    means = [e[name] for e in entries]
    spread = [e[f"{name}_sd"] or 0 for e in entries]
    if vertical:
        axes.errorbar(places, means, yerr=spread, marker="o", capsize=4)
    else:
        axes.errorbar(means, places, xerr=spread, fmt="o", capsize=4)
