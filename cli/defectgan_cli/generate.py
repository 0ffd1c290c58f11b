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
from defectgan_cli.generate_parts import launch_on_gpus, own_shard, part_of, take_out
from defectgan_cli.options import DATA, MACHINE, METHOD, OUTPUT, setting
from defectgan_cli.results import print_facts, print_json

if TYPE_CHECKING:
    from defectgan.generation.prepare import Prepared
    from defectgan.generation.run import GenerateOutcome
    from defectgan.generation.shards import Shard

# Where the critic doubts more than half of a set, the command says what can be done: so many times
# more candidates.
MORE = 4


def generate(
    normal: Annotated[
        str | None,
        setting(
            DATA,
            "Good images to paint on: a folder, a file or a quoted pattern; none for a model that "
            "makes whole images.",
            env="NORMAL",
        ),
    ] = None,
    defect: Annotated[
        list[str] | None,
        setting(
            METHOD, "Classes to paint, in turn.", env="DEFECT", default="all", metavar="NAME..."
        ),
    ] = None,
    n: Annotated[
        int | None,
        setting(METHOD, "Images to make, over all classes.", env="N", default="100", min=1),
    ] = None,
    per_class: Annotated[
        int | None,
        setting(METHOD, "Images to make of each class.", env="PER_CLASS", default="by --n", min=1),
    ] = None,
    balance_to: Annotated[
        Path | None,
        setting(
            DATA,
            "Fill every class of this data set up to its largest defect class.",
            env="BALANCE_TO",
            default="none",
        ),
    ] = None,
    like: Annotated[
        Path | None,
        setting(
            DATA,
            "Real images to make more of, such as a detector missed: a folder with one folder a "
            "class, or a table with file and labels. Classes come in their proportion, and the "
            "candidates nearest to them are kept.",
            env="LIKE",
            default="none",
        ),
    ] = None,
    jobs: Annotated[
        Path | None,
        setting(
            DATA,
            "A .jsonl or .csv file with a row a task, in the place of --normal: source, classes, "
            "count, seed, region, strength.",
            env="JOBS",
            default="none",
        ),
    ] = None,
    model: options.Model = None,
    out: Annotated[
        Path | None,
        setting(OUTPUT, "Folder for the images.", env="OUT", default="generated/<time>-<classes>"),
    ] = None,
    into: Annotated[
        Path | None,
        setting(
            OUTPUT,
            "Add to this folder of real images, in the place of --out; nothing in it is "
            "overwritten.",
            env="INTO",
            default="none",
        ),
    ] = None,
    remove: Annotated[
        bool,
        options.switch(OUTPUT, "remove", "Take out again what was added to the folder of --into."),
    ] = False,
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
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            help="Write the set in these formats, too: mvtec, coco, yolo, voc, table.",
            envvar="DEFECTGAN_FORMAT",
            show_default="folder",
            metavar="NAME...",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    candidates: options.Candidates = None,
    style: Annotated[
        Path | None,
        setting(
            METHOD,
            "Paint in the manner of this picture of a defect, with a model whose method has a "
            "style encoder (starganv2, spade).",
            env="STYLE",
            default="the seed varies it",
        ),
    ] = None,
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
    device: options.Devices = "auto",
    gpus: Annotated[
        int | None,
        setting(
            MACHINE, "Paint on so many GPUs of this machine.", env="GPUS", default="one", min=1
        ),
    ] = None,
    shard: Annotated[
        str | None,
        setting(
            MACHINE,
            "Make the i-th of n parts of the job beside the others in one folder: the same line in "
            "each task of an array job.",
            env="SHARD",
            default="all of it",
            metavar="I/N",
        ),
    ] = None,
    merge: Annotated[
        bool,
        options.switch(MACHINE, "merge", "Join the manifests of the parts; paints nothing."),
    ] = False,
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
    from defectgan.errors import SettingError
    from defectgan.generation.estimate import expected_seconds
    from defectgan.generation.formats import check_formats, export_set
    from defectgan.generation.into import add_to
    from defectgan.generation.prepare import prepare
    from defectgan.generation.run import join_shards
    from defectgan.generation.shards import WHOLE
    from defectgan.manifest import MANIFEST
    from defectgan.processes import join_crew

    started = time.perf_counter()
    if remove:
        take_out(into, as_json=as_json, quiet=quiet)
        return
    launch_on_gpus(device, gpus, out or into)
    crew = join_crew()
    shard_of_job = own_shard(shard, merge, crew)
    check_formats(formats or [])
    if shard is not None:
        options.refuse("is written when the parts are joined: name it with --merge", format=formats)
    if out is None and into is None and not shard_of_job.whole:
        raise SettingError("several processes make one set: name its folder with --out")
    reporter = Reporter(quiet=quiet, silent=not crew.first)
    job = prepare(
        normal,
        defects=defect,
        n=n,
        model=model,
        out=out,
        seed=seed,
        binary_masks=binary_masks,
        candidates=candidates,
        style=style,
        per_class=per_class,
        balance_to=balance_to,
        like=like,
        jobs=jobs,
        into=into,
        where=where,
        forbidden=forbidden,
        wishes=Wishes.read(size=size, count=count_per_image, together=together, strength=strength),
        checks=asked.checks_of(min_confidence, keep_best, min_area, max_area, no_border=no_border),
        device=device,
    )
    rejected = job.job.sources.rejected
    log = shard_of_job.folder(job.out) / LOG
    everything = "the command's --json" if dry_run else f"{log}"
    _announce(job, shard_of_job, reporter, all_in=everything)
    if dry_run:
        if not crew.first:
            return
        counts = _counts(job)
        each = expected_seconds(job, shard_of_job, batch_size=batch_size)
        counts["seconds"] = round(each, 1) if as_json else f"about {minutes(each)}"
        if as_json:
            counts["rejected"] = [{"file": f, "reason": r} for f, r in rejected]
        print_json(counts) if as_json else print_facts(counts)
        return
    if merge:
        result = join_shards(job.job, job.model, job.out, say=reporter.warn)
    else:
        with part_of(crew):
            result = _run(job, batch_size, shard_of_job, reporter)
    reporter.warn_of([f"left out {p}: {r}" for p, r in result.damaged.items()], all_in=everything)
    if reporter.cut:
        reporter.write_to(log)
    if crew.size > 1:
        if not crew.first:
            return
        crew.wait()
        joined = join_shards(job.job, job.model, job.out, say=reporter.warn)
        result = joined._replace(damaged=result.damaged)
    doubted = _look(job, reporter) if shard is None else None
    if into is not None and shard is None:
        add_to(into, job.out)
    written = export_set(job.out, formats or [], say=reporter.warn)
    if as_json:
        print_json(
            {
                "out": job.out,
                "into": into,
                "formats": written,
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
        of_parts = merge or crew.size > 1
        typer.echo(f"{_outcome(result, job.job.n, joined=of_parts)}: {into or job.out}")
        for name, path in written.items():
            typer.echo(f"{name}: {path}")
    of = WHOLE if shard is None else shard_of_job
    result.refuse_short(of.share(job.job.n), of.folder(job.out))


def _announce(job: "Prepared", shard: "Shard", reporter: Reporter, *, all_in: str) -> None:
    """Say what will be made."""
    for note in job.notes():
        reporter.warn(note)
    sources = job.job.sources
    head = f"left out {counted(len(sources.rejected), 'file')}:"
    reporter.warn_of(grouped(sources.rejected), all_in=all_in, head=head)
    on = f" on {counted(len(sources.files), 'source')}" if sources.files else ""
    reporter.say(
        f"{_part(job, shard)} of {', '.join(job.job.defects)}{on} with {job.model.path}, "
        f"into {job.out}"
    )
    reporter.say(_choice(job))
    if looks := job.first_paintings:
        reporter.say(
            f"{counted(looks, 'painting')} come before, to find the threshold of each class"
        )


def _part(job: "Prepared", shard: "Shard") -> str:
    """How many images, and which part of all it is."""
    mine = counted(shard.share(job.job.n), "image")
    return mine if shard.whole else f"shard {shard}, {mine} of {job.job.n},"


def _choice(job: "Prepared") -> str:
    """How the images are chosen, and how much work that is."""
    if job.order.candidates > 1:
        paintings = counted(job.paintings, "painting")
        return f"of {job.order.candidates} candidates the surest is kept: {paintings}"
    if not job.model.painter.has_critic:
        better = (
            f"these weights hold no critic that could choose, those of a run choose the surest of "
            f"{CANDIDATES}"
        )
        if not job.model.painter.could_choose:
            better = "a critic of this method knows no classes and could not choose"
        return f"each image is painted once and kept as it comes: {better}"
    return "each image is painted once and kept as it comes"


def _counts(job: "Prepared") -> dict[str, Any]:
    """What a dry run says."""
    return {
        "images": job.job.n,
        "classes": job.job.counts(),
        "sources": len(job.job.sources.files),
        "candidates": job.order.candidates,
        "paintings": job.paintings,
        "left out": len(job.job.sources.rejected),
        "out": str(job.out),
    }


def _run(job: "Prepared", batch_size: int, shard: "Shard", reporter: Reporter) -> "GenerateOutcome":
    """Make the images; says how far it came where it is interrupted."""
    from defectgan.generation.run import run_job

    def expect(paintings: int, seconds: float) -> None:
        reporter.say(f"{counted(paintings, 'painting')} to go: about {minutes(seconds)}")

    share = shard.share(job.job.n)
    with CountReport(reporter, "images", share) as report:
        try:
            return run_job(
                job.job,
                job.model,
                job.out,
                device=job.device,
                batch_size=batch_size,
                shard=shard,
                done=report.advance,
                say=reporter.warn,
                expect=expect,
            )
        except (KeyboardInterrupt, OSError):
            reporter.warn(
                f"stopped after {report.done} of {counted(share, 'image')}; the same command "
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
    if found.full and job.job.sources.files:
        reporter.warn(
            f"{found.full} of {counted(found.images, 'mask')} cover more than "
            f"{flags.FULL_AREA * 100:g} % of the image: look at inspect-masks before you train on "
            "them"
        )
    return found.doubted


def _outcome(result: "GenerateOutcome", n: int, *, joined: bool) -> str:
    images = counted(result.there + result.made, "image")
    if joined:
        return f"{images} of all parts"
    if not result.made:
        asked = f", {n} were asked for" if result.there > n else ""
        return f"nothing to make{asked}: {images} there already"
    verb = "was" if result.there == 1 else "were"
    return f"{images}, {result.there} {verb} there already" if result.there else images
