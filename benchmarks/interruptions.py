"""Whether a generate job that is killed at any moment ends with the set of an undisturbed one.

    python benchmarks/interruptions.py --times 20

Each kind of job is run once undisturbed. Then a job is killed (SIGKILL) at a moment that is drawn
over all the time in which there is anything of its set, and the same line goes on; every file
below its folder, the manifest and hidden ones too, must then be as in the undisturbed set. The
kinds come in turn; moments are drawn from ``--seed``. A line a time tells how many images there
were when it was killed; one that had ended before is tried again.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from defectgan.errors import CheckFailed
from defectgan.files import sha256

ROOT = Path(__file__).resolve().parents[1]
# How often it is looked whether a job has begun to write, in seconds.
LOOK = 0.005
# Jobs that had ended before their moment came, one after the other, at most.
LATE = 20


class Kind(NamedTuple):
    """A kind of job: its ``lines``, one run after the other, each killed in its turn, and what it
    writes into.
    """

    lines: tuple[tuple[str, ...], ...]
    folder: str = "set"


def kinds(n: int) -> dict[str, Kind]:
    """The kinds of job, over the good images ``good``."""
    plain = ("--normal", "good", "--n", str(n), "--out", "set")
    return {
        "plain": Kind((plain,)),
        "rows of a file": Kind((("--jobs", "jobs.jsonl", "--out", "set"),)),
        "formats": Kind(((*plain, "--format", "coco", "yolo", "mvtec", "voc", "table"),)),
        "places": Kind(((*plain, "--size", "12..20", "--count-per-image", "1..2"),)),
        "shards": Kind(((*plain, "--shard", "1/2"), (*plain, "--shard", "2/2"), plain)),
        "among real images": Kind(
            (("--normal", "good", "--n", str(n), "--into", "real"),), folder="real"
        ),
    }


def prepare(place: Path, normal: Path, n: int) -> None:
    """What all kinds of job take, in a folder of their own: names in a manifest are as given."""
    place.mkdir()
    shutil.copytree(normal, place / "good")
    (place / "real").mkdir()
    shutil.copytree(normal, place / "real" / "normal")
    rows = [{"source": "good", "count": n - n // 2}, {"source": "good", "seed": 7, "count": n // 2}]
    (place / "jobs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def begun(words: tuple[str, ...], model: Path, place: Path) -> "subprocess.Popen[bytes]":
    line = [sys.executable, "-m", "defectgan_cli", "generate", "--model", str(model), *words]
    return subprocess.Popen([*line, "--quiet"], cwd=place, stdout=subprocess.DEVNULL)


def whole(words: tuple[str, ...], model: Path, place: Path) -> None:
    """Run a line to its end.

    Raises:
        CheckFailed: if it fails.
    """
    with begun(words, model, place) as job:
        pass
    if job.returncode:
        raise CheckFailed(f"generate {' '.join(words)} ended with {job.returncode}")


def written(folder: Path) -> Iterator[Path]:
    """The files that a job wrote: all but the real images that were there before."""
    yield from (p for p in folder.rglob("*") if p.is_file() and p.parts[-2] != "normal")


def signs(folder: Path) -> bool:
    """Whether there is anything of a set."""
    return next(written(folder), None) is not None


def files_of(folder: Path) -> dict[str, str]:
    """The digest of every file below a folder, hidden ones too."""
    return {p.relative_to(folder).as_posix(): sha256(p) for p in folder.rglob("*") if p.is_file()}


def images_in(folder: Path) -> int:
    """How many images of a set there are, wherever it lies."""
    return sum(1 for p in folder.rglob("images/*/*.png") if p.is_file())


def undisturbed(kind: Kind, model: Path, place: Path) -> float:
    """Run the lines of a kind; the seconds from the first sign of a set to the end of the first."""
    with begun(kind.lines[0], model, place) as job:
        while not signs(place / kind.folder) and job.poll() is None:
            time.sleep(LOOK)
        began = time.perf_counter()
    if job.returncode:
        raise CheckFailed(f"generate {' '.join(kind.lines[0])} ended with {job.returncode}")
    seconds = time.perf_counter() - began
    for words in kind.lines[1:]:
        whole(words, model, place)
    return seconds


def killed(words: tuple[str, ...], model: Path, place: Path, folder: Path, after: float) -> bool:
    """Whether a line could be killed so many seconds after there was more than before."""
    before = len(list(written(folder)))
    with begun(words, model, place) as job:
        while len(list(written(folder))) <= before and job.poll() is None:
            time.sleep(LOOK)
        try:
            job.wait(after)
        except subprocess.TimeoutExpired:
            job.kill()
    return job.returncode < 0


def disturbed(kind: Kind, model: Path, normal: Path, place: Path, n: int, after: float) -> int:
    """Each line of a kind killed and run again; how many images there were when the first was
    killed, -1 if it had ended.
    """
    shutil.rmtree(place, ignore_errors=True)
    prepare(place, normal, n)
    there = -1
    for i, words in enumerate(kind.lines):
        stopped = killed(words, model, place, place / kind.folder, after)
        if i == 0:
            if not stopped:
                return -1
            there = images_in(place / kind.folder)
        whole(words, model, place)
    return there


def differences(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """The files that are in one set alone, or differ."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def measure(args: argparse.Namespace, home: Path) -> int:
    """How many of the jobs ended with another set."""
    rng, wrong = random.Random(args.seed), 0
    chosen = {name: kind for name, kind in kinds(args.n).items() if name in args.kinds}
    seconds, wanted = {}, {}
    for name, kind in chosen.items():
        place = home / f"whole-{name}"
        prepare(place, args.normal, args.n)
        seconds[name] = undisturbed(kind, args.model, place)
        wanted[name] = files_of(place / kind.folder)
    for time_ in range(args.times):
        name = list(chosen)[time_ % len(chosen)]
        kind, place = chosen[name], home / "killed"
        for _ in range(LATE):
            after = rng.uniform(0, seconds[name])
            there = disturbed(kind, args.model, args.normal, place, args.n, after)
            if there >= 0:
                break
        else:
            raise CheckFailed(f"{name}: {LATE} jobs ended before they could be killed")
        differ = differences(files_of(place / kind.folder), wanted[name])
        wrong += bool(differ)
        told = {"time": time_ + 1, "kind": name, "killed after s": round(after, 3)}
        print(json.dumps(told | {"images": there, "differ": differ[:5]}), flush=True)
    return wrong


def main() -> None:
    """Kill, go on, compare, and say whether all sets were the same."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, default=ROOT / "sample_data" / "pcb64.safetensors")
    parser.add_argument("--normal", type=Path, default=ROOT / "sample_data" / "normal")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--n", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", default=list(kinds(0)), choices=list(kinds(0)))
    args = parser.parse_args()
    args.model, args.normal = args.model.resolve(), args.normal.resolve()
    with tempfile.TemporaryDirectory() as home:
        wrong = measure(args, Path(home))
    print(f"{args.times - wrong} of {args.times} sets were those of an undisturbed job")
    if wrong:
        raise SystemExit(CheckFailed.exit_code)


if __name__ == "__main__":
    main()
