"""Parts of the command generate: which part of a job this process makes, and taking images out."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from defectgan.words import counted
from defectgan_cli import options
from defectgan_cli.console import Reporter
from defectgan_cli.launch import gpus_asked_for, launch
from defectgan_cli.results import print_json

if TYPE_CHECKING:
    from defectgan.generation.shards import Shard
    from defectgan.processes import Crew

GOES_ON = "What was made is whole; the same command with the same --out goes on"


def launch_on_gpus(device: str, gpus: int | None, out: Path | None) -> None:
    """Run this command once for each GPU where several are asked for, and end as they do."""
    from defectgan.errors import SettingError

    numbers = gpus_asked_for(device, gpus)
    if not numbers:
        return
    if out is None:
        raise SettingError("several processes make one set: name its folder with --out")
    raise typer.Exit(launch(numbers, goes_on=GOES_ON))


def own_shard(shard: str | None, merge: bool, crew: "Crew") -> "Shard":
    """The part that this process makes: that which is named, or its place under torchrun.

    Raises:
        SettingError: if these contradict each other.
    """
    from defectgan.errors import SettingError
    from defectgan.generation.shards import Shard, parse_shard

    if crew.size > 1:
        options.refuse("is decided by torchrun, which started this process", shard=shard)
        options.refuse("is done by the first process under torchrun", merge=merge)
        return Shard(crew.rank, crew.size)
    if shard is not None and merge:
        raise SettingError(
            "--shard makes a part and --merge joins all parts: name one or the other"
        )
    return parse_shard(shard) if shard else Shard()


@contextmanager
def part_of(crew: "Crew") -> Iterator[None]:
    """Make this process's part, and tell the others how it ended."""
    well = False
    try:
        yield
        well = True
    finally:
        crew.done(well=well)


def take_out(into: Path | None, *, as_json: bool, quiet: bool) -> None:
    """Take out again what was added to a folder of real images.

    Raises:
        SettingError: if none is named.
    """
    from defectgan.errors import SettingError
    from defectgan.generation.into import remove_from

    if into is None:
        raise SettingError("--remove takes out what was added to a folder: name it with --into")
    removed, changed = remove_from(into)
    reporter = Reporter(quiet=quiet)
    reporter.warn_of([f"was changed since and stays: {p}" for p in changed], all_in="--json")
    if as_json:
        print_json({"into": into, "removed": removed, "changed": changed})
    else:
        typer.echo(f"{counted(removed, 'file')} taken out: {into}")
