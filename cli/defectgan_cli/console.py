"""What a person reads: messages, progress, errors. Everything here goes to stderr; stdout carries
results alone.
"""

import contextlib
import ctypes
import importlib.util
import io
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from defectgan.listener import Advance
from defectgan.training import TIMED_STEPS
from defectgan.words import counted

# Of a list of warnings, the lines that are shown.
LINES_SHOWN = 10
# Seconds between lines of progress where there is no terminal.
SECONDS_A_LINE = 10
# The terms that a line of progress shows; stats.jsonl has them all.
SHOWN = (
    "wgan",
    "gp",
    "d_real",
    "d_fake",
    "grad_minimax",
    "grad_non_saturating",
    "cls_r",
    "cls_chance",
    "cls_f",
    "rec",
    "mask_deface",
    "mask_restore",
    "kid_share",
)


class Reporter:
    """Says things once: to the terminal unless quiet, and to a log file, once there is one."""

    def __init__(self, *, quiet: bool, silent: bool = False) -> None:
        """Args: no sentences but warnings; nothing at all."""
        self.console = Console(stderr=True, highlight=False, soft_wrap=True, quiet=silent)
        self.quiet = quiet
        self._log: Path | None = None
        self._unwritten: list[str] = []
        self._log_fails = False
        # Whether a list was longer than what is shown of it: the log has all of it.
        self.cut = False

    def write_to(self, log: Path) -> None:
        """Write to a log file from here on, what was said before included.

        Lines that it cannot take, on a full disk say, come with the next one that it can.
        """
        self._log = log
        self._write()

    def say(self, text: str) -> None:
        """A sentence about what is done."""
        self._note(text)
        if not self.quiet:
            show(self.console, Text(printable(text)))

    def warn(self, text: str) -> None:
        """A sentence that is shown even when quiet."""
        self._note(f"warning: {text}")
        self._show_warning(text)

    def warn_of(self, reasons: Sequence[str], *, all_in: Path | str, head: str = "") -> None:
        """Warn of many things: what has the same reason in one line, the first lines of them, then
        how many there are, and what holds them all.
        """
        if not reasons:
            return
        if head:
            self.warn(head)
        for line in reasons[:LINES_SHOWN]:
            self.warn(f"  {line}" if head else line)
        if len(reasons) > LINES_SHOWN:
            self.cut = True
            self.warn(f"  and {len(reasons) - LINES_SHOWN} more, all in {all_in}")
            for line in reasons[LINES_SHOWN:]:
                self._note(f"  {line}")

    def _show_warning(self, text: str) -> None:
        show(self.console, Text.assemble(("warning: ", "bold yellow"), printable(text)))

    def _note(self, text: str) -> None:
        said = printable(text)
        self._unwritten.append(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {said}\n")
        self._write()

    def _write(self) -> None:
        if self._log is None:
            return
        try:
            with self._log.open("a", encoding="utf-8") as file:
                file.writelines(self._unwritten)
        except OSError as error:
            if not self._log_fails:
                self._show_warning(f"{self._log} is not written: {error.strerror or error}")
            self._log_fails = True
        else:
            self._unwritten.clear()
            self._log_fails = False

    @contextmanager
    def counting(self, noun: str, total: int) -> Iterator[Advance]:
        """Show how many of so many things are done."""
        with CountReport(self, noun, total) as report:
            yield report.advance

    def progress(self, *extra: str) -> Progress:
        """A progress bar; it shows itself on a terminal only."""
        return Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            *(TextColumn(column, markup=False) for column in extra),
            console=self.console,
            disable=self.quiet or not self.console.is_terminal,
            transient=True,
        )


def printable(text: str) -> str:
    """The text, with bytes of file names that are no text, and control characters but the end of a
    line, written out.
    """
    try:
        text = os.fsencode(text).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        text = text.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def grouped(left_out: Sequence[tuple[Path, str]]) -> list[str]:
    """A line for each file that was left out; those with the same reason are one line."""
    by_reason: dict[str, list[Path]] = {}
    for path, reason in left_out:
        by_reason.setdefault(reason, []).append(path)
    return [
        reason
        if len(paths) == 1 and str(paths[0]) in reason
        else f"{paths[0]}: {reason}"
        if len(paths) == 1
        else f"{len(paths)} files, the first: {paths[0]}: {reason}"
        for reason, paths in by_reason.items()
    ]


def show(console: Console, what: RenderableType) -> None:
    """Say something on stderr. Where that is a file on a full disk, or a terminal that is gone, it
    goes unsaid: the work that it is about is not to end by it.
    """
    try:
        console.print(what)
    except BrokenPipeError:
        raise  # whoever read has had enough, also of the work
    except OSError:
        pass


def show_error(title: str, message: str) -> None:
    """One boxed message on stderr."""
    console = Console(stderr=True, highlight=False)
    show(
        console,
        Panel(Text(printable(message)), title=title, title_align="left", border_style="red"),
    )


def speak_plainly() -> None:
    """Let nothing that is said fail on a terminal of another encoding, and nothing be said by other
    libraries: what is wrong with a file is said here.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.filterwarnings("ignore", module="PIL")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    for library in ("PIL", "tifffile"):
        logging.getLogger(library).setLevel(logging.CRITICAL + 1)
    _silence_libtiff()


def _silence_libtiff() -> None:
    """Let the library by which Pillow decodes TIFF files write nothing on the terminal itself."""
    place = importlib.util.find_spec("PIL")
    folders = [Path(p) for p in (place.submodule_search_locations or ())] if place else []
    for folder in folders:
        for path in (*folder.parent.glob("[Pp]illow.libs/libtiff*"), *folder.glob("*/libtiff*")):
            with contextlib.suppress(OSError, AttributeError):
                library = ctypes.CDLL(str(path))
                library.TIFFSetErrorHandler(None)
                library.TIFFSetWarningHandler(None)


def speak_utf8() -> None:
    """Begin anew in Python's UTF-8 mode where names of files are not UTF-8 by the system's settings
    (a strict C locale): names of images and classes are the same wherever a job runs.
    """
    if sys.getfilesystemencoding() == "utf-8" or os.environ.get("PYTHONUTF8") == "1":
        return
    os.environ["PYTHONUTF8"] = "1"
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


class CountReport:
    """Shows how far a job has come: a bar on a terminal, a line now and then otherwise."""

    def __init__(self, reporter: Reporter, noun: str, total: int) -> None:
        self._reporter = reporter
        self._noun = noun
        self._total = total
        self.done = 0
        self._said = time.perf_counter()
        self._progress = reporter.progress()
        self._task = self._progress.add_task(noun, total=total)

    def __enter__(self) -> "CountReport":
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def advance(self, count: int) -> None:
        """So many more are done."""
        self.done += count
        self._progress.update(self._task, completed=self.done)
        if self._progress.disable and time.perf_counter() - self._said > SECONDS_A_LINE:
            self._said = time.perf_counter()
            self._reporter.say(f"{self.done}/{self._total} {self._noun}")


class TrainingReport:
    """Shows a training: a bar on a terminal, a line a log interval otherwise."""

    def __init__(self, reporter: Reporter, steps: int) -> None:
        self._reporter = reporter
        self._steps = steps
        self._progress = reporter.progress("{task.fields[terms]}")
        self._task = self._progress.add_task("starting", total=steps, terms="")
        self._marks: list[tuple[int, float]] = []
        self._warming: list[float] = []

    def __enter__(self) -> "TrainingReport":
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def phase(self, text: str) -> None:
        self._progress.update(self._task, description=text)
        self._reporter.say(text)

    def warmed(self, step: int, longest: int) -> None:
        self._progress.update(
            self._task, description=f"classifier ahead: step {step} of at most {longest}"
        )
        self._warming.append(time.perf_counter())
        if step == TIMED_STEPS:
            each = self._warmed() / (TIMED_STEPS - 1)
            self._reporter.say(
                f"warm-up of the classifier: {counted(longest, 'step')} of {each:.2f} s each at "
                f"most, {minutes(longest * each)}; {counted(self._steps, 'step')} of all networks "
                "come then"
            )

    def _warmed(self) -> float:
        """Seconds that the classifier's warm-up has taken."""
        return self._warming[-1] - self._warming[0] if self._warming else 0.0

    def stepped(self, step: int) -> None:
        self._progress.update(self._task, completed=step)
        if len(self._marks) < TIMED_STEPS:
            self._marks.append((step, time.perf_counter()))
            if len(self._marks) == TIMED_STEPS:
                self._say_expected_time()

    def _say_expected_time(self) -> None:
        (first, began), (last, ended) = self._marks[0], self._marks[-1]
        each = (ended - began) / (last - first)
        left = self._steps - last
        text = f"{counted(left, 'step')} of {each:.2f} s each: about {minutes(left * each)}"
        if self._warming:
            whole = self._warmed() + self._steps * each
            text += f", {minutes(whole)} in all with the warm-up"
        self._reporter.say(text)

    def logged(self, line: dict[str, Any]) -> None:
        terms = "  ".join(f"{name} {line[name]:.3g}" for name in SHOWN if name in line)
        speed = f"{line['images_per_second']:.1f} img/s"
        self._progress.update(self._task, terms=f"{terms}  {speed}")
        if self._progress.disable:
            left = (self._steps - line["step"]) * line["seconds_per_step"]
            self._reporter.say(
                f"step {line['step']}/{self._steps}  {terms}  {speed}  {minutes(left)} left"
            )

    def warn(self, text: str) -> None:
        self._reporter.warn(text)


def minutes(seconds: float) -> str:
    """A duration as a person says it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
