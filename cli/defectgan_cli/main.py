"""The command ``defectgan``."""

from typing import Annotated

import typer

from defectgan import __version__
from defectgan_cli.console import speak_plainly, speak_utf8
from defectgan_cli.evaluate_gain import gain
from defectgan_cli.evaluate_quality import quality
from defectgan_cli.evaluate_threshold import threshold
from defectgan_cli.export import export
from defectgan_cli.generate import generate
from defectgan_cli.inspect_masks import inspect_masks
from defectgan_cli.options import Command
from defectgan_cli.train import train

app = typer.Typer(
    name="defectgan",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"defectgan {__version__}")
        raise typer.Exit


@app.callback()
def defectgan(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Synthetic defect images with pixel masks for visual inspection.

    Learns from folders of images what each defect looks like, and paints such defects onto your own
    good images.
    """
    speak_utf8()
    speak_plainly()


for function in (train, generate, inspect_masks, export):
    app.command(cls=Command)(function)

evaluate = typer.Typer(
    name="evaluate",
    help="What generated images are worth: how they look, and what a classifier gains by them.",
    no_args_is_help=True,
)
evaluate.command(cls=Command)(quality)
evaluate.command(cls=Command)(threshold)
evaluate.command(cls=Command)(gain)
app.add_typer(evaluate)
