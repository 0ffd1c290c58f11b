"""defectgan generate."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from defectgan.generation.choose import CANDIDATES
from defectgan.generation.wishes import Wishes
from defectgan.listener import LOG
from defectgan.words import counted
from defectgan_cli import generate_wishes as asked
from defectgan_cli import options
from defectgan_cli.console import CountReport, Reporter, grouped, minutes
from defectgan_cli.options import DATA, MACHINE, METHOD, OUTPUT, setting
from defectgan_cli.results import print_facts, print_json

if TYPE_CHECKING:
    from defectgan.generation.prepare import Prepared
    from defectgan.generation.run import GenerateOutcome

# Where the critic doubts more than half of a set, the command says what can be done: so many times
# more candidates.
MORE = 4


def generate(
    normal: Annotated[
        str,
        setting(
            DATA, "Good images to paint on: a folder, a file or a quoted pattern.", env="NORMAL"
        ),
    ],
    defect: Annotated[
        list[str] | None,
        setting(
            METHOD, "Classes to paint, in turn.", env="DEFECT", default="all", metavar="NAME..."
        ),
    ] = None,
    n: Annotated[int, setting(METHOD, "Images to make, over all classes.", env="N", min=1)] = 100,
    model: options.Model = None,
    out: Annotated[
        Path | None,
        setting(OUTPUT, "Folder for the images.", env="OUT", default="generated/<time>-<classes>"),
    ] = None,
    seed: Annotated[
        int, setting(METHOD, "The same seed makes the same images.", env="SEED", min=0)
    ] = 0,
    batch_size: Annotated[
        int,
        setting(
            MACHINE, "Images computed at once; changes the speed alone.", env="BATCH_SIZE", min=1
        ),
    ] = 16,
    binary_masks: Annotated[
        bool,
        setting(
            OUTPUT,
            "Write masks of 0 and 255 instead of soft ones: 255 above the threshold that the "
            "manifest records.",
            env="BINARY_MASKS",
        ),
    ] = False,
    candidates: options.Candidates = None,
    where: asked.Where = None,
    forbidden: asked.Forbidden = None,
    size: asked.Size = None,
    count_per_image: asked.CountPerImage = "1",
    together: asked.Together = False,
    strength: asked.Strength = 1.0,
    min_confidence: asked.MinConfidence = None,
    keep_best: asked.KeepBest = None,
    min_area: asked.MinArea = None,
    max_area: asked.MaxArea = None,
    no_border: asked.NoBorder = False,
    device: options.Device = "auto",
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Paint defects onto good images; returns images with pixel masks.

    Images keep their size, depth and every pixel that is not painted. A job that was killed goes on
    when it is called again with the same --out, and a larger --n adds to what is there. A painting
    that shows nothing, or less than is asked for, is painted again; where that does not help, the
    job ends with exit code 4 and says what is missing.

    Example: defectgan generate --normal imgs/ --defect brushing --n 500
    """
    from defectgan.generation.prepare import prepare
    from defectgan.manifest import MANIFEST

    started = time.perf_counter()
    reporter = Reporter(quiet=quiet)
    job = prepare(
        normal,
        defects=defect,
        n=n,
        model=model,
        out=out,
        seed=seed,
        binary_masks=binary_masks,
        candidates=candidates,
        where=where,
        forbidden=forbidden,
        wishes=Wishes.read(size=size, count=count_per_image, together=together, strength=strength),
        checks=asked.checks_of(min_confidence, keep_best, min_area, max_area, no_border=no_border),
        device=device,
    )
    rejected = job.job.sources.rejected
    everything = "the command's --json" if dry_run else f"{job.out / LOG}"
    _announce(job, reporter, all_in=everything)
    if dry_run:
        counts = _counts(job)
        if as_json:
            counts["rejected"] = [{"file": f, "reason": r} for f, r in rejected]
        print_json(counts) if as_json else print_facts(counts)
        return
    result = _run(job, batch_size, reporter)
    reporter.warn_of([f"left out {p}: {r}" for p, r in result.damaged.items()], all_in=everything)
    if reporter.cut:
        reporter.write_to(job.out / LOG)
    doubted = _look(job, reporter)
    if as_json:
        print_json(
            {
                "out": job.out,
                "manifest": job.out / MANIFEST,
                "images": result.there + result.made,
                "made": result.made,
                "candidates": job.order.candidates,
                "doubted": doubted if job.model.painter.has_critic else None,
                "rejected": len(rejected) + len(result.damaged),
                "given_up": len(result.given_up),
                "seconds": round(time.perf_counter() - started, 1),
            }
        )
    else:
        typer.echo(f"{_outcome(result, n)}: {job.out}")
    result.refuse_short(n, job.out)


def _announce(job: "Prepared", reporter: Reporter, *, all_in: str) -> None:
    """Say what will be made."""
    for note in job.notes():
        reporter.warn(note)
    sources = job.job.sources
    head = f"left out {counted(len(sources.rejected), 'file')}:"
    reporter.warn_of(grouped(sources.rejected), all_in=all_in, head=head)
    reporter.say(
        f"{counted(job.job.n, 'image')} of {', '.join(job.job.defects)} on "
        f"{counted(len(sources.files), 'source')} with {job.model.path}, into {job.out}"
    )
    reporter.say(_choice(job))
    if looks := job.first_paintings:
        reporter.say(
            f"{counted(looks, 'painting')} come before, to find the threshold of each class"
        )


def _choice(job: "Prepared") -> str:
    """How the images are chosen, and how much work that is."""
    if job.order.candidates > 1:
        paintings = counted(job.paintings, "painting")
        return f"of {job.order.candidates} candidates the surest is kept: {paintings}"
    if not job.model.painter.has_critic:
        return (
            "each image is painted once and kept as it comes: these weights hold no critic that "
            f"could choose, those of a run choose the surest of {CANDIDATES}"
        )
    return "each image is painted once and kept as it comes"


def _counts(job: "Prepared") -> dict[str, Any]:
    """What a dry run says."""
    return {
        "images": job.job.n,
        "sources": len(job.job.sources.files),
        "candidates": job.order.candidates,
        "paintings": job.paintings,
        "left out": len(job.job.sources.rejected),
        "out": str(job.out),
    }


def _run(job: "Prepared", batch_size: int, reporter: Reporter) -> "GenerateOutcome":
    """Make the images; says how far it came where it is interrupted."""
    from defectgan.generation.run import run_job

    def expect(paintings: int, seconds: float) -> None:
        reporter.say(f"{counted(paintings, 'painting')} to go: about {minutes(seconds)}")

    with CountReport(reporter, "images", job.job.n) as report:
        try:
            return run_job(
                job.job,
                job.model,
                job.out,
                device=job.device,
                batch_size=batch_size,
                done=report.advance,
                say=reporter.warn,
                expect=expect,
            )
        except KeyboardInterrupt:
            reporter.warn(
                f"stopped after {report.done} of {counted(job.job.n, 'image')}; the same command "
                f"with --out {job.out} goes on"
            )
            raise


def _look(job: "Prepared", reporter: Reporter) -> int:
    """Say what a person should know of a set; returns how many images the critic doubts."""
    from defectgan.generation.review import review
    from defectgan.inspection import flags

    found = review(job.out, full_area=flags.FULL_AREA)
    if found.doubted > found.images / 2:
        more, besides = CANDIDATES, ""
        if job.order.candidates >= CANDIDATES:
            more, besides = MORE * job.order.candidates, ", a longer training makes them"
        reporter.say(
            f"the critic doubts the class of {found.doubted} of {counted(found.images, 'image')}: "
            f"--candidates {more} keeps better ones{besides}"
        )
    if found.full:
        reporter.warn(
            f"{found.full} of {counted(found.images, 'mask')} cover more than "
            f"{flags.FULL_AREA * 100:g} % of the image: look at inspect-masks before you train on "
            "them"
        )
    return found.doubted


def _outcome(result: "GenerateOutcome", n: int) -> str:
    images = counted(result.there + result.made, "image")
    if not result.made:
        asked = f", {n} were asked for" if result.there > n else ""
        return f"nothing to make{asked}: {images} there already"
    verb = "was" if result.there == 1 else "were"
    return f"{images}, {result.there} {verb} there already" if result.there else images
