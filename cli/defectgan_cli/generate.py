"""defectgan generate."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from defectgan.generation.choose import CANDIDATES
from defectgan_cli import options
from defectgan_cli.console import (
    LOG,
    CountReport,
    Reporter,
    grouped,
    minutes,
    print_facts,
    print_json,
)
from defectgan_cli.options import setting

if TYPE_CHECKING:
    from defectgan.generation.request import Order
    from defectgan.generation.run import GenerateOutcome
    from defectgan.model.file import Model

# A default folder name spells out so many classes; more are counted.
NAMED = 3
# An image whose class the critic finds less probable than this is doubted; where more than half of
# a set are, the command says what can be done: so many times more candidates.
DOUBTED = 0.5
MORE = 4


def generate(
    normal: Annotated[
        str, setting("NORMAL", "Good images to paint on: a folder, a file or a quoted pattern.")
    ],
    defect: Annotated[
        list[str] | None,
        setting("DEFECT", "Classes to paint, in turn.", default="all", metavar="NAME..."),
    ] = None,
    n: Annotated[int, setting("N", "Images to make, over all classes.", min=1)] = 100,
    model: options.Model = None,
    out: Annotated[
        Path | None,
        setting("OUT", "Folder for the images.", default="generated/<time>-<classes>"),
    ] = None,
    seed: Annotated[int, setting("SEED", "The same seed makes the same images.", min=0)] = 0,
    batch_size: Annotated[
        int, setting("BATCH_SIZE", "Images computed at once; changes the speed alone.", min=1)
    ] = 16,
    binary_masks: Annotated[
        bool,
        setting(
            "BINARY_MASKS",
            "Write masks of 0 and 255 instead of soft ones: 255 above the threshold that the "
            "manifest records.",
        ),
    ] = False,
    candidates: options.Candidates = None,
    device: options.Device = "auto",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be made and make nothing.")
    ] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Paint defects onto good images; returns images with pixel masks.

    Images keep their size, depth and every pixel that is not painted. A job that was killed goes on
    when it is called again with the same --out, and a larger --n adds to what is there.

    Example: defectgan generate --normal imgs/ --defect brushing --n 500
    """
    from defectgan.data.facts import Facts
    from defectgan.data.levels import about_dim
    from defectgan.devices import pick_device
    from defectgan.generation.mask_threshold import looked_at
    from defectgan.generation.plan import find_sources
    from defectgan.generation.request import GenerateJob, settle
    from defectgan.generation.run import run_job
    from defectgan.generation.writers import MANIFEST
    from defectgan.model.file import load_model
    from defectgan.names import plain_name
    from defectgan.runs import find_model, unused
    from defectgan.words import counted

    started = time.perf_counter()
    reporter = Reporter(quiet=quiet)
    target = pick_device(device)
    trained = load_model(find_model(model), device=target)
    defects = tuple(defect or trained.info.classes[1:])
    sources = find_sources(normal)
    job = GenerateJob(sources, defects, n, seed, binary_masks=binary_masks, candidates=candidates)
    classes = plain_name("-".join(defects)) if len(defects) <= NAMED else f"{len(defects)}-classes"
    folder = out or unused(Path("generated") / f"{time.strftime('%Y%m%d-%H%M%S')}-{classes}")
    order = settle(job, trained, folder)
    if trained.info.levels is None:
        for note in about_dim(job.sources.files, Facts()):
            reporter.warn(note)
    left_out = counted(len(job.sources.rejected), "file")
    everything = "the command's --json" if dry_run else f"{folder / LOG}"
    reporter.warn_of(grouped(job.sources.rejected), all_in=everything, head=f"left out {left_out}:")
    reporter.say(
        f"{counted(n, 'image')} of {', '.join(defects)} on "
        f"{counted(len(job.sources.files), 'source')} with {trained.path}, into {folder}"
    )
    reporter.say(_choice(order, trained))
    if order.thresholds is None:
        looks = counted(looked_at(job), "painting")
        reporter.say(f"{looks} come before, to find the threshold of each class")
    if dry_run:
        counts: dict[str, Any] = {
            "images": n,
            "sources": len(job.sources.files),
            "candidates": order.candidates,
            "paintings": n * order.candidates,
            "left out": len(job.sources.rejected),
            "out": str(folder),
        }
        if as_json:
            counts["rejected"] = [{"file": f, "reason": r} for f, r in job.sources.rejected]
        print_json(counts) if as_json else print_facts(counts)
        return

    def expect(paintings: int, seconds: float) -> None:
        reporter.say(f"{counted(paintings, 'painting')} to go: about {minutes(seconds)}")

    with CountReport(reporter, "images", n) as report:
        try:
            result = run_job(
                job,
                trained,
                folder,
                device=target,
                batch_size=batch_size,
                done=report.advance,
                say=reporter.warn,
                expect=expect,
            )
        except KeyboardInterrupt:
            reporter.warn(
                f"stopped after {report.done} of {counted(n, 'image')}; the same command with "
                f"--out {folder} goes on"
            )
            raise
    reporter.warn_of([f"left out {p}: {r}" for p, r in result.damaged.items()], all_in=everything)
    if reporter.cut:
        reporter.write_to(folder / LOG)
    doubted = _look(folder, order, reporter)
    if as_json:
        print_json(
            {
                "out": folder,
                "manifest": folder / MANIFEST,
                "images": result.there + result.made,
                "made": result.made,
                "candidates": order.candidates,
                "doubted": doubted if trained.painter.has_critic else None,
                "rejected": len(job.sources.rejected) + len(result.damaged),
                "seconds": round(time.perf_counter() - started, 1),
            }
        )
    else:
        typer.echo(f"{_outcome(result, n)}: {folder}")


def _choice(order: "Order", model: "Model") -> str:
    """How the images are chosen, and how much work that is."""
    from defectgan.words import counted

    if order.candidates > 1:
        paintings = counted(order.job.n * order.candidates, "painting")
        return f"of {order.candidates} candidates the surest is kept: {paintings}"
    if not model.painter.has_critic:
        return (
            "each image is painted once and kept as it comes: these weights hold no critic that "
            f"could choose, those of a run choose the surest of {CANDIDATES}"
        )
    return "each image is painted once and kept as it comes"


def _look(folder: Path, order: "Order", reporter: Reporter) -> int:
    """Say what a person should know of a set; returns how many images the critic doubts."""
    from defectgan.generation.canvas import CONFIDENCE
    from defectgan.generation.writers import each_row
    from defectgan.inspection.flags import FULL_AREA
    from defectgan.words import counted

    total = doubted = full = 0
    for row in each_row(folder):
        total += 1
        doubted += row.get(CONFIDENCE, 1) < DOUBTED
        full += row["mask_area"] > FULL_AREA
    if doubted > total / 2:
        more, besides = CANDIDATES, ""
        if order.candidates >= CANDIDATES:
            more, besides = MORE * order.candidates, ", a longer training makes them"
        reporter.say(
            f"the critic doubts the class of {doubted} of {counted(total, 'image')}: "
            f"--candidates {more} keeps better ones{besides}"
        )
    if full:
        reporter.warn(
            f"{full} of {counted(total, 'mask')} cover more than {FULL_AREA * 100:g} % of the "
            "image: look at inspect-masks before you train on them"
        )
    return doubted


def _outcome(result: "GenerateOutcome", n: int) -> str:
    from defectgan.words import counted

    images = counted(result.there + result.made, "image")
    if not result.made:
        asked = f", {n} were asked for" if result.there > n else ""
        return f"nothing to make{asked}: {images} there already"
    verb = "was" if result.there == 1 else "were"
    return f"{images}, {result.there} {verb} there already" if result.there else images
