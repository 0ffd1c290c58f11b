"""defectgan evaluate threshold."""

from pathlib import Path
from typing import Annotated

import typer

from defectgan_cli import options
from defectgan_cli.console import CountReport, Reporter, print_json, print_table
from defectgan_cli.options import setting

# Images painted of each class.
EACH = 50


def threshold(
    data: Annotated[
        Path,
        setting(
            None,
            "Real images, in any layout that train reads; good ones are enough. Test defects tell "
            "how the threshold transfers.",
        ),
    ],
    generated: Annotated[
        Path | None,
        setting(None, "A generated set.", default="painted by --model", metavar="FOLDER"),
    ] = None,
    model: Annotated[
        Path | None,
        setting(
            None,
            "Run folder or .safetensors file that paints; of --generated, the run that made it.",
            default="the newest run; for --generated the one that has its weights",
        ),
    ] = None,
    trust_model: Annotated[
        bool,
        typer.Option("--trust-model", help="Take it that the model has not seen the test images."),
    ] = False,
    n: Annotated[
        int | None,
        setting(None, "Images that are painted of each class.", default=str(EACH), min=1),
    ] = None,
    refusals: Annotated[
        float,
        setting(None, "Share of good images that may be refused.", min=0.0, max=0.5),
    ] = 0.01,
    normal_class: Annotated[
        str | None,
        setting(
            None,
            "Folder of the good images in --data.",
            default="normal, good, ok, free or defect-free",
        ),
    ] = None,
    group_regex: Annotated[
        str | None,
        setting(
            None,
            "What in a file's name tells the piece: pieces are never parted.",
            default="each file a piece",
        ),
    ] = None,
    holdout: Annotated[
        float,
        setting(
            None,
            "Share of each class that is kept to test the threshold, where --data names no test "
            "images.",
            min=0.0,
            max=0.95,
        ),
    ] = 0.0,
    image_size: Annotated[
        str,
        setting(None, "Size at which the detector sees images: pixels a side, or HEIGHTxWIDTH."),
    ] = "128",
    seed: Annotated[
        int, setting(None, "Draws what is held out, what is painted and what is kept.", min=0)
    ] = 0,
    out: Annotated[
        Path | None, setting(None, "Folder for the report.", default="threshold, here")
    ] = None,
    device: options.Device = "auto",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Which threshold of a detector keeps refusals low, before the first real defect.

    The detector learns from good images alone. Other good images, and generated defects, set the
    threshold; real test defects, where there are any, tell how it transfers.

    Example: defectgan evaluate threshold --data pcb --model latest
    """
    from defectgan.devices import pick_device
    from defectgan.evaluation.bench import seen_size
    from defectgan.evaluation.threshold import choose, images_seen
    from defectgan.evaluation.threshold_images import (
        gather,
        generated_defects,
        paint,
        refuse_seen_by,
        refuse_unseen,
    )
    from defectgan.evaluation.threshold_report import (
        as_record,
        classes,
        report_files,
        summary,
        write_thresholds,
    )
    from defectgan.model.file import load_model
    from defectgan.networks.imagenet import imagenet
    from defectgan.runs import find_model, find_run, unused
    from defectgan.settings.data import DataConfig

    reporter = Reporter(quiet=quiet)
    if generated is not None:
        options.refuse("is for images that are painted here: leave it out", n=n)
    size, place = seen_size(image_size), pick_device(device)
    folder = out or unused(Path("threshold"))
    report_files(folder)  # before minutes of work, not after
    net = imagenet("lite2", device=place)
    painter = find_model(model) if generated is None else model and find_run(model)
    config = DataConfig(normal_class=normal_class, group_regex=group_regex)
    material = gather(data, config, holdout=holdout, seed=seed)
    notes = refuse_seen_by(material, generated=generated, model=painter, trust=trust_model)
    made = generated or folder / "generated"
    if generated is None:
        assert painter is not None
        trained, each = load_model(painter, device=place), n or EACH
        refuse_unseen(material, size, model=trained)
        with CountReport(reporter, "images painted", each * len(trained.info.classes[1:])) as bar:
            paint(trained, material, made, each=each, seed=seed, device=place, done=bar.advance)
    refuse_unseen(material, size, generated=generated)
    defects, about_made = generated_defects(made, material)
    with CountReport(reporter, "images", images_seen(material, defects)) as bar:
        result = choose(
            material,
            defects,
            net.maps,
            image_size=size,
            share=refusals,
            device=place,
            seed=seed,
            notes=(*material.notes, *notes, *about_made),
            done=bar.advance,
        )
    for note in result.notes:
        reporter.warn(note)
    facts = {
        "data": str(data.resolve()),
        "generated defects": str(made.resolve()),
        "features": f"{net.name} (SHA-256 {net.sha256[:16]})",
        "image size": f"{size[1]} x {size[0]}",
        "seed": seed,
    }
    report_file, record_file = write_thresholds(folder, result, facts)
    if as_json:
        files = {"report": report_file, "record": record_file}
        print_json(as_record(result, facts) | files)
    else:
        typer.echo(result.verdict)
        print_table(*summary(result))
        print_table(*classes(result))
        typer.echo(f"report: {report_file}")
