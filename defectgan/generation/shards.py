"""A job in parts: each shard makes its own images beside the others in one folder.

SET/
    .shards/3-of-5/            of the third of five: its lock, job.json, manifest.jsonl, log.txt
    manifest.jsonl, job.json   of all, as of a job in one piece; the rows come when they are joined
    images/, masks/            each file is written by one shard alone

Which images a shard makes depends on their numbers alone, so that a set can go on, also with more
images or with another number of shards.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from defectgan.errors import DataError, SettingError
from defectgan.generation.choose import CAP
from defectgan.listener import LOG
from defectgan.locks import held, is_held
from defectgan.ours import SHARDS

# Images that follow each other share the good images that their candidates are painted on: so many
# go to the same shard, which then reads them once.
BLOCK = CAP


@dataclass(frozen=True)
class Shard:
    """Part ``index``, counted from 0, of ``count``; the only one is the whole job."""

    index: int = 0
    count: int = 1

    @property
    def whole(self) -> bool:
        """Whether it is all of the job."""
        return self.count == 1

    def __str__(self) -> str:
        return f"{self.index + 1}/{self.count}"

    def has(self, number: int) -> bool:
        """Whether an image is its to make."""
        return number // BLOCK % self.count == self.index

    def share(self, n: int) -> int:
        """How many of the first ``n`` images are its to make."""
        rounds, rest = divmod(n, BLOCK * self.count)
        return rounds * BLOCK + min(max(rest - BLOCK * self.index, 0), BLOCK)

    def folder(self, out: Path) -> Path:
        """Where its own job.json, manifest and log are."""
        return out if self.whole else out / SHARDS / f"{self.index + 1}-of-{self.count}"

    @contextmanager
    def held(self, out: Path) -> Iterator[None]:
        """Be the only one that makes these images.

        Raises:
            DataError: if the same shard, the whole job, or shards of another number are at work.
        """
        if self.whole:
            with held(out):
                yield
            return
        with held(out, shared=True), held(self.folder(out)):
            # Its own lock comes first: of two that begin at once one at least sees the other.
            for other in parts_of(out):
                if not other.name.endswith(f"-of-{self.count}") and is_held(other):
                    raise DataError(
                        f"shard {other.name.replace('-of-', '/')} is at work in {out}, and this is "
                        f"{self}: wait until it is done, or take shards of {self.count} alone"
                    )
            yield

    def other_manifests(self, out: Path) -> list[Path]:
        """The folders whose manifests may name images that are its to make: what was joined before,
        and what was made in shards of another number.
        """
        if self.whole:
            return []
        same = f"-of-{self.count}"
        return [out, *(part for part in parts_of(out) if not part.name.endswith(same))]

    def publish(self, file: Path, out: Path) -> None:
        """Put a file of its folder, whole, into that of all, unless another shard was earlier."""
        there = out / file.name
        try:
            os.link(file, there)
        except FileExistsError:
            pass
        except OSError:  # a disk without links
            if not there.exists():
                shutil.copyfile(file, file.with_suffix(".copy"))
                os.replace(file.with_suffix(".copy"), there)


WHOLE = Shard()


def parse_shard(text: str) -> Shard:
    """The shard that ``i/n`` means, counted from 1.

    Raises:
        SettingError: if it means none.
    """
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise SettingError(f"a shard {text}: expected i/n, such as 1/5 for the first of five")
    return Shard(int(index) - 1, int(count))


def parts_of(out: Path) -> list[Path]:
    """The folders of all shards that have been at work in a set and are not joined yet."""
    return sorted(path for path in (out / SHARDS).glob("*-of-*") if path.is_dir())


def forget_parts(out: Path) -> None:
    """Take away what shards kept for themselves, when all of it is joined; what they said comes
    into the log of the set.
    """
    for part in parts_of(out):
        if (part / LOG).is_file():
            with (out / LOG).open("ab") as log:
                log.write((part / LOG).read_bytes())
    shutil.rmtree(out / SHARDS, ignore_errors=True)
