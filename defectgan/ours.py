"""Folders that this product has made, marked so that it never learns from them by mistake."""

from pathlib import Path

from defectgan.locks import LOCK

MARKER = ".defectgan"
# What the shards of a job keep for themselves until they are joined.
SHARDS = ".shards"
# What is in a folder in which nothing has been made yet.
KEPT = (MARKER, LOCK, SHARDS)
_README = "Made by defectgan: {what}. Its images are not learned from or painted on.\n"
# What older versions have made, by the files that are always there.
_OLDER = (("config.yaml", "split.json"), ("job.json", "manifest.jsonl"))


def mark_own(folder: Path, what: str) -> None:
    """Make a folder if it is not there, and mark it as this product's, if nothing of anybody's is
    in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if all(path.name in KEPT for path in folder.iterdir()):
        (folder / MARKER).write_text(_README.format(what=what), encoding="utf-8")


def is_own(folder: Path) -> bool:
    """Whether this product has made a folder; of one that may not be looked into nobody knows."""
    try:
        return (folder / MARKER).is_file() or any(
            all((folder / name).is_file() for name in names) for names in _OLDER
        )
    except PermissionError:
        return False
