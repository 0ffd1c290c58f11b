r"""Which change to the method helps? One change at a time, from scratch, at equal time.

    python benchmarks/ablate.py --base quick --vary method.adv=4,10 method.cls_s=0 \
        --sets magnetic_tile deeppcb --shots 16 --minutes 20 --seeds 2 --out OUT

The base and each variation of it (``SECTION.KEY=VALUE,VALUE``, or the name of a preset or a file
of settings) are trained on each set with each seed, one after the other, for the same wall-clock
time on the same cores: the steps that fill it are found from the first ones, warm-up included. With
``--steps`` all make as many steps instead. Test images are never looked at: all figures are of the
training images that ``--shots`` leaves out, and of validation images.

share     KID to real defects in fixed features, as a share of the distance of good images: 0 as
          good as real, 1 as good as nothing painted
named     share of painted images that a linear classifier on fixed features, which has learned all
          real training images, names right, less the share of real validation images: 0 is best
gain      in macro-F1 of such a classifier of the shots alone, by painted images, on validation
          images
gray      share of a defect's pixels that are neither dark nor bright, less that of real defects
contrast  how far a defect's mean lies from that of what is round it, less that of real defects
AP, IoU   of restoration masks with the true ones, mean over classes; IoU at the best threshold

The first three are of images as they come and, chosen, of the surest of the usual candidates. What
was cut short goes on when the command is called again with the same --out, also with further
variations, sets and seeds; there is a line of ``results.jsonl`` for each training, and
``table.md``.
"""

import argparse
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
import yaml

from defectgan.data.samples import TRAIN, VAL
from defectgan.devices import pick_device
from defectgan.errors import SettingError
from defectgan.evaluation.ablation import AblationJudge
from defectgan.evaluation.gan_training import RUNS, train_generator
from defectgan.evaluation.ledger import claim, open_test
from defectgan.evaluation.real import RealSplit, SplitPlan, split_real
from defectgan.files import append_json_lines, read_json_lines, write_atomically
from defectgan.methods.config import Config, load_config
from defectgan.model.file import Model, load_model
from defectgan.names import plain_name
from defectgan.training.job import Job

# Steps by which the pace of a training is known, and those of them that do not count: the first
# ones find their memory and read their images.
PROBE, UNCOUNTED = 30, 10
STEPS, RESULTS = "steps.json", "results.jsonl"
COLUMNS = (
    *("share", "share_chosen", "named", "named_chosen", "gain", "gain_chosen"),
    *("gray", "contrast", "ap", "iou", "steps"),
)


@dataclass(frozen=True)
class Variation:
    """A change to the base, or another preset; ``overrides`` as of ``load_config``."""

    name: str
    source: str
    overrides: dict[str, dict[str, Any]]

    def config(self, **training: Any) -> Config:
        """Its settings, with some of the section ``training`` changed."""
        tree = {section: dict(values) for section, values in self.overrides.items()}
        tree["training"] = tree.get("training", {}) | training
        return load_config(self.source, tree)


def variations(base: str, words: Sequence[str]) -> Iterator[Variation]:
    """The base, then each change of it.

    Raises:
        SettingError: if a word is neither ``SECTION.KEY=VALUE,VALUE`` nor a preset or file.
    """
    yield Variation(base, base, {})
    for word in words:
        path, sign, values = word.partition("=")
        section, dot, key = path.partition(".")
        if not sign:
            yield Variation(word, word, {})
        elif not dot:
            raise SettingError(f"cannot vary {word}: expected SECTION.KEY=VALUE,VALUE or a preset")
        else:
            for value in yaml.safe_load(f"[{values}]"):
                name = f"{path}={json.dumps(value)}"
                yield Variation(name, base, {section: {key: value}})


class Pace:
    """A training's watcher that times its first steps."""

    def __init__(self) -> None:
        self._done: list[float] = []

    def phase(self, text: str) -> None:
        print(text, flush=True)

    def warmed(self, step: int, longest: int) -> None:
        pass

    def stepped(self, step: int) -> None:
        self._done.append(time.perf_counter())

    def logged(self, line: dict[str, Any]) -> None:
        print(f"step {line['step']}", end="\r", flush=True)

    def warn(self, text: str) -> None:
        print(f"warning: {text}", flush=True)

    def known(self) -> bool:
        """Whether the pace is known."""
        return len(self._done) >= PROBE

    def seconds(self) -> float:
        """Of one step."""
        counted = self._done[UNCOUNTED:]
        return (counted[-1] - counted[0]) / (len(counted) - 1)


def steps_within(
    minutes: float, real: RealSplit, config: Config, folder: Path, device: torch.device
) -> int:
    """The steps that so many minutes hold, warm-up and those that have found it out included; these
    are the beginning of the run in the folder.
    """
    kept = folder / STEPS
    if not kept.is_file():
        shutil.rmtree(folder / RUNS, ignore_errors=True)  # what a kill left of an earlier try
        began, pace, job = time.perf_counter(), Pace(), Job(config, real.index)
        run = job.begin(folder / RUNS, "probe")
        outcome = job.run(run, device=device, watcher=pace, stop=pace.known)
        left = 60 * minutes - (time.perf_counter() - began)
        steps = outcome.steps + max(0, round(left / pace.seconds()))
        write_atomically(kept, json.dumps({"steps": steps}).encode())
    return int(json.loads(kept.read_text(encoding="utf-8"))["steps"])


def train(
    real: RealSplit, variation: Variation, seed: int, folder: Path, options: argparse.Namespace
) -> tuple[Model, dict[str, Any]]:
    """The trained model of a folder, and how it was trained."""
    device = pick_device(options.device)
    config = variation.config(seed=seed, **({"steps": options.steps} if options.steps else {}))
    steps = options.steps or steps_within(options.minutes, real, config, folder, device)
    config = variation.config(seed=seed, steps=steps)
    run = train_generator(real, config, folder, device=device, watcher=Pace(), stop=lambda: False)
    assert run is not None, "nobody stops it"
    return load_model(run, device=device), {"steps": steps}


def as_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """A row a set and variation: the mean over seeds, with the standard deviation of several."""
    lines = [
        f"| set | variation | seeds | {' | '.join(COLUMNS)} |",
        "|---" * (len(COLUMNS) + 3) + "|",
    ]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["set"], row["variation"]), []).append(row)
    for (data, variation), group in sorted(groups.items(), key=lambda item: item[0][0]):
        cells = [_cell([row[c] for row in group if c in row]) for c in COLUMNS]
        lines.append(f"| {data} | {variation} | {len(group)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(values: Sequence[float]) -> str:
    if not values:
        return ""
    if isinstance(values[0], int):
        return f"{fmean(values):.0f}"
    spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
    return f"{fmean(values):.3f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", default="quick", help="preset or file of settings")
    parser.add_argument("--vary", nargs="*", default=[], metavar="WORD")
    parser.add_argument("--sets", nargs="+", type=Path, required=True, metavar="DIR")
    parser.add_argument("--shots", type=int, required=True, help="images of each defect class")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=float, help="of each training")
    length.add_argument("--steps", type=int, help="generator steps of each training")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    tried = list(variations(options.base, options.vary))
    for variation in tried:
        variation.config()  # what cannot be is said before hours are spent
    open_test(
        options.out,
        {name: getattr(options, name) for name in ("base", "shots", "minutes", "steps")},
    )
    base = load_config(options.base, {})
    for data in options.sets:
        real = split_real(data, base.data, SplitPlan(shots=options.shots), needed=(TRAIN, VAL))
        home = options.out / plain_name(data.name)
        claim(home, real)
        fill(real, data.name, home, tried, options)


def fill(
    real: RealSplit,
    name: str,
    home: Path,
    tried: Sequence[Variation],
    options: argparse.Namespace,
) -> None:
    """Train and judge what is not there yet of a set."""
    results = options.out / RESULTS
    base, device = load_config(options.base, {}), pick_device(options.device)
    judge: AblationJudge | None = None
    for seed in range(options.seeds):
        for variation in tried:
            key = {"set": name, "variation": variation.name, "seed": seed}
            rows = read_json_lines(results)
            if any(key.items() <= row.items() for row in rows):
                continue
            judge = judge or AblationJudge(real, base.data, device)
            folder = home / plain_name(variation.name) / f"seed-{seed}"
            model, made = train(real, variation, seed, folder, options)
            append_json_lines(results, [key | made | judge(model, folder)])
            table = as_markdown(read_json_lines(results))
            write_atomically(options.out / "table.md", table.encode())
            print(table, flush=True)


if __name__ == "__main__":
    main()
