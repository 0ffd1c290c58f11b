"""Options that several commands share, and the command class that all are made with."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperCommand

from defectgan.errors import DefectganError
from defectgan.generation.choose import CANDIDATES, CAP
from defectgan_cli.arguments import rewrite
from defectgan_cli.console import show_error

FAILED = 3
INTERRUPTED = 130
# As a shell says of a command that SIGPIPE ended.
UNREAD = 141


class Command(TyperCommand):
    """Takes list options as people write them, and ends errors with one message and the right exit
    code.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Typer hands both to Rich, which takes [brackets] for its markup and swallows them.
        self.help = escape(self.help or "")
        for option in map(vars, self.params):
            option["help"] = escape(option["help"] or "")

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        opts = [name for option in self.params for name in option.opts if name[:2] != "--"]
        return super().parse_args(ctx, rewrite(args, (*opts, *ctx.help_option_names)))

    def invoke(self, ctx: Any) -> Any:
        try:
            with _terminated_as_interrupted():
                result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except DefectganError as error:
            if ctx.params.get("debug"):
                raise
            show_error(TITLES.get(error.exit_code, "error"), f"{error}{self._remedy(error)}")
            raise typer.Exit(error.exit_code) from error
        except BrokenPipeError as error:
            # Whoever read has had enough; what Python still holds must not fail once more at exit.
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), sys.stdout.fileno())
            raise typer.Exit(UNREAD) from error
        except OSError as error:
            if ctx.params.get("debug"):
                raise
            show_error(
                "cannot go on", f"{error.filename or 'the system'}: {error.strerror or error}"
            )
            raise typer.Exit(FAILED) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(INTERRUPTED) from error

    def _remedy(self, error: DefectganError) -> str:
        """The option that would mend an error, if this command has it."""
        name, value = error.mend or ("", "")
        options = {option.name: option.opts[0] for option in self.params}
        return f": {options[name]} {value}".rstrip() if name in options else ""


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let the SIGTERM of a batch system end a command as Ctrl-C does, with what it has to say."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


TITLES = {2: "invalid setting", 3: "cannot go on", 4: "check failed"}


PRESET = "the preset's"
# The groups in which a help shows options.
DATA, MODEL, METHOD, TRAINING, TEST, OUTPUT, MACHINE = (
    *("Data", "Model", "Method", "Training", "Test", "Output", "Machine"),
)


def setting(
    group: str,
    text: str,
    *,
    env: str | None = None,
    default: str | None = None,
    metavar: str | None = None,
    min: float | None = None,
    max: float | None = None,
) -> Any:
    """An option in a group of the help, which DEFECTGAN_<env> may set, too; ``default`` is what the
    help says where the value itself says nothing.
    """
    return typer.Option(
        help=text,
        envvar=f"DEFECTGAN_{env}" if env else None,
        show_default=default or True,
        metavar=metavar,
        min=min,
        max=max,
        rich_help_panel=group,
    )


def switch(group: str, name: str, text: str, *, env: str | None = None) -> Any:
    """An option that is on or off, which DEFECTGAN_<env> may set, too."""
    variable = f"DEFECTGAN_{env}" if env else None
    return typer.Option(f"--{name}", help=text, envvar=variable, rich_help_panel=group)


Model = Annotated[
    Path | None,
    setting(MODEL, "Run folder or .safetensors file.", env="MODEL", default="the newest run"),
]
_CANDIDATES = (
    f"Paintings tried for each image, on up to {CAP} good images: the one whose class the critic "
    f"is surest of is kept. No good image is kept more than {CAP} times as often as all are on "
    "average."
)
Candidates = Annotated[
    int | None,
    setting(
        METHOD,
        _CANDIDATES,
        env="CANDIDATES",
        default=f"{CANDIDATES}, 1 for weights without the critic",
        min=1,
    ),
]
CandidatesToTrainOn = Annotated[
    int | None,
    setting(METHOD, _CANDIDATES, default=str(CANDIDATES), min=1),
]


def _classes(env: str | None = None) -> Any:
    text = "Defect classes in this order."
    return setting(DATA, text, env=env, default="all", metavar="NAME...")


def _normal_class(where: str = "", *, env: str | None = None, or_as: str = "") -> Any:
    default = f"normal, good, ok, free or defect-free{or_as}"
    return setting(DATA, f"Folder of the good images{where}.", env=env, default=default)


def _group_regex(env: str | None = None) -> Any:
    text = "Finds in a file name which piece it shows; images of a piece are never split."
    return setting(DATA, text, env=env, default="none")


# Training takes what it is told of the data from the environment, too.
Classes = Annotated[list[str] | None, _classes("CLASSES")]
ClassesToTestOn = Annotated[list[str] | None, _classes()]
NormalClass = Annotated[str | None, _normal_class(env="NORMAL_CLASS")]
NormalClassToTestOn = Annotated[str | None, _normal_class()]
NormalClassOfData = Annotated[str | None, _normal_class(" in --data")]
NormalClassOfRun = Annotated[
    str | None, _normal_class(" in --data", or_as=", or as in the model's run")
]
GroupRegex = Annotated[str | None, _group_regex("GROUP_REGEX")]
GroupRegexToTestOn = Annotated[str | None, _group_regex()]


def trust(text: str) -> Any:
    """The option by which a model is taken whose run is not there."""
    return switch(MODEL, "trust-model", text)


DryRun = Annotated[bool, switch(OUTPUT, "dry-run", "Say what would be done and make nothing.")]
Device = Annotated[str, setting(MACHINE, "auto, cpu, cuda or cuda:N.", env="DEVICE")]
# Of commands that can run on several GPUs.
Devices = Annotated[str, setting(MACHINE, "auto, cpu, cuda, cuda:N or cuda:N,M.", env="DEVICE")]
Json = Annotated[bool, switch(OUTPUT, "json", "Print one JSON object on stdout.")]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="Warnings and results only.",
        envvar="DEFECTGAN_QUIET",
        rich_help_panel=OUTPUT,
    ),
]
Debug = Annotated[bool, switch(OUTPUT, "debug", "Show the traceback of an error.")]


def refuse(why: str, **given: Any) -> None:
    """Refuse options that would do nothing."""
    from defectgan.errors import SettingError

    if names := [name for name, value in given.items() if value not in (None, False)]:
        options_named = ", ".join(f"--{name.replace('_', '-')}" for name in names)
        raise SettingError(f"{options_named} {why}")
