"""defectgan generate."""

import time
from pathlib import Path
from typing import Annotated

import typer

from defectgan_cli import options
from defectgan_cli.console import CountReport, Reporter, print_facts, print_json
from defectgan_cli.options import setting

# A default folder name spells out so many classes; more are counted.
NAMED = 3
# An image whose class the critic finds less probable than this is doubted; where more than half of
# a set are, the command says what can be done.
DOUBTED = 0.5


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
        bool, setting("BINARY_MASKS", "Write masks of 0 and 255 instead of soft ones.")
    ] = False,
    candidates: options.Candidates = 1,
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
    when it is called again with the same --out.

    Example: defectgan generate --normal imgs/ --defect brushing --n 500
    """
    from defectgan.data.facts import Facts
    from defectgan.data.levels import about_dim
    from defectgan.devices import pick_device
    from defectgan.generation.plan import find_sources
    from defectgan.generation.run import CONFIDENCE, Job, already_made, run_job
    from defectgan.generation.writers import MANIFEST, read_manifest
    from defectgan.inspection.flags import FULL_AREA
    from defectgan.names import plain_name
    from defectgan.runs import find_model, unused
    from defectgan.training.checkpoint import load_model
    from defectgan.words import counted

    started = time.perf_counter()
    reporter = Reporter(quiet=quiet)
    target = pick_device(device)
    trained = load_model(find_model(model), device=target)
    defects = tuple(defect or trained.info.classes[1:])
    sources = find_sources(normal)
    job = Job(sources, defects, n, seed, binary_masks=binary_masks, candidates=candidates)
    classes = plain_name("-".join(defects)) if len(defects) <= NAMED else f"{len(defects)}-classes"
    folder = out or unused(Path("generated") / f"{time.strftime('%Y%m%d-%H%M%S')}-{classes}")
    there = already_made(job, trained, folder)
    if trained.info.levels is None:
        for note in about_dim(job.sources.files, Facts()):
            reporter.warn(note)
    for path, reason in job.sources.rejected:
        reporter.warn(f"left out {path}: {reason}")
    reporter.say(
        f"{counted(n, 'image')} of {', '.join(defects)} on "
        f"{counted(len(job.sources.files), 'source')} with {trained.path}, into {folder}"
    )
    if dry_run:
        counts = {"images": n, "sources": len(job.sources.files), "out": str(folder)}
        print_json(counts) if as_json else print_facts(counts)
        return
    with CountReport(reporter, "images", n) as report:
        try:
            damaged = run_job(
                job,
                trained,
                folder,
                device=target,
                batch_size=batch_size,
                done=report.advance,
                say=reporter.warn,
            )
        except KeyboardInterrupt:
            reporter.warn(
                f"stopped after {report.done} of {counted(n, 'image')}; the same command with "
                f"--out {folder} goes on"
            )
            raise
    for path, reason in damaged.items():
        reporter.warn(f"left out {path}: {reason}")
    rows = read_manifest(folder)
    doubted = sum(row.get(CONFIDENCE, 1) < DOUBTED for row in rows)
    if doubted > n / 2:
        reporter.say(
            f"the critic doubts the class of {doubted} of {counted(n, 'image')}: --candidates "
            f"{options.MANY * candidates} keeps better ones"
        )
    if full := sum(row["mask_area"] > FULL_AREA for row in rows):
        reporter.warn(
            f"{full} of {counted(n, 'mask')} cover more than {FULL_AREA * 100:g} % of the image: "
            "look at inspect-masks before you train on them"
        )
    if as_json:
        print_json(
            {
                "out": folder,
                "manifest": folder / MANIFEST,
                "images": n,
                "doubted": doubted if trained.critic else None,
                "rejected": len(job.sources.rejected) + len(damaged),
                "seconds": round(time.perf_counter() - started, 1),
            }
        )
    else:
        already = f", {there} {'was' if there == 1 else 'were'} there already" if there else ""
        typer.echo(f"{counted(n, 'image')}{already}: {folder}")
