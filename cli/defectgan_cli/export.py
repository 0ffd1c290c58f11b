"""defectgan export."""

from pathlib import Path
from typing import Annotated

from defectgan_cli import options
from defectgan_cli.console import Reporter
from defectgan_cli.options import OUTPUT, setting
from defectgan_cli.results import print_json, print_table


def export(
    model: options.Model = None,
    format: Annotated[
        list[str] | None,
        setting(
            OUTPUT,
            "safetensors, onnx.",
            default="all that can be written here",
            metavar="NAME...",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        setting(OUTPUT, "Folder for the files.", default="export, in the run, else here"),
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Carry the generator into other runtimes; each file is checked against the model.

    onnx needs the extra of that name: pip install 'defectgan[onnx]'.

    Example: defectgan export --format onnx
    """
    from defectgan.export import available_formats, export, parse_formats
    from defectgan.model.file import load_model
    from defectgan.runs import beside, find_model, unused

    reporter = Reporter(quiet=quiet)
    formats = parse_formats(format) if format else available_formats()
    if not format and "onnx" not in formats:
        reporter.say("onnx is left out: it needs the extra 'onnx' of defectgan")
    path = find_model(model)
    folder = out or unused(beside(path) / "export")
    files = export(load_model(path), folder, formats)
    if as_json:
        print_json({"files": [vars(file) for file in files]})
    else:
        rows = [(file.path, file.format, f"{file.max_difference:.1e}") for file in files]
        print_table(("file", "format", "max difference"), rows)
