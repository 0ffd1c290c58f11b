"""Which files below a folder are images of the person's, and which ones are left out and why."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from defectgan.heads import is_image_name
from defectgan.ours import is_own


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Endings of images that are not read here.
_OTHER_IMAGES = _words(
    ".gif .jp2 .j2k .j2c .jpx .jpf .jpc .heic .heif .avif .jxl .jxr .pgm .ppm .pbm .pnm "
    ".pfm .pam .tga .dds .ico .icns .psd .raw .dng .cr2 .cr3 .nef .arw .orf .rw2 .exr .hdr "
    ".pcx .ras .sgi .rgb .emf .wmf .svg .dcm .fits .fit .xbm .xpm .apng .qoi .btf .gel .lsm "
    ".svs .ndpi "
)
# Endings that are never an image's: such files are not looked into.
_NO_IMAGES = _words(
    ".txt .csv .tsv .json .jsonl .xml .yaml .yml .md .rst .html .htm .py .ipynb .m .mat "
    ".npy .npz .h5 .hdf5 .pkl .pt .pth .onnx .safetensors .zip .tar .gz .tgz .7z .rar .log "
    ".ini .cfg .toml .pdf .doc .docx .xls .xlsx .ods .ppt .pptx .db .sqlite .lock .sh .bat "
    ".exe .dll .so .url .lnk .mp4 .avi .mov .mkv .wav .mp3 .names .data .cache .lst .record "
    ".tfrecord .parquet "
)
_SIGNATURES = (
    *(b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*"),
    *(b"\0\0\0\x0cjP  ", b"8BPS", b"\xff\x0a", b"\0\0\0\x0cJXL "),
)
# Folders of file managers, archives and network disks, besides all that begin with a dot.
_ASIDE = {
    "@eadir": "thumbnails of a network disk",
    "thumbnails": "thumbnails",
    "thumbs": "thumbnails",
    "__macosx": "a Mac's archive",
    "$recycle.bin": "a waste bin",
    "recycler": "a waste bin",
    "recycled": "a waste bin",
    "#recycle": "a waste bin",
    "@recycle": "a waste bin",
    "@recently-snapshot": "snapshots of a network disk",
    "#snapshot": "snapshots of a network disk",
    "system volume information": "the system's",
    "lost+found": "the system's",
    "__pycache__": "Python's",
}
MAC = "a file in which a Mac keeps what its disk knows of another one (._*), no image"
LOOP = "a link to a folder that it lies in itself"
OWN = "an image that this product has made"

LeftOut = tuple[Path, str]


class Found(NamedTuple):
    """``images`` are all that is named like one, sorted by path; ``skipped`` are images that are
    not taken although somebody may want them; ``aside`` is nobody's data. Each with the reason.
    """

    images: list[Path]
    skipped: list[LeftOut]
    aside: list[LeftOut]

    def __add__(self, other: "Found") -> "Found":  # type: ignore[override]
        return Found(
            self.images + other.images, self.skipped + other.skipped, self.aside + other.aside
        )


def find_images(folder: Path, *, nested: bool = True) -> Found:
    """The images at any depth below a folder, or with ``nested`` false in it alone.

    Links to folders are followed, each folder once, but none to a folder that it lies in. What is
    no file in spite of its name is listed as well, for ``probe`` to say so.
    """
    found = Found([], [], [])
    seen: set[tuple[int, int]] = set()

    def locked(error: OSError) -> None:
        reason = error.strerror or error
        found.skipped.append((Path(error.filename), f"a folder that cannot be read: {reason}"))

    for parent, folders, files in os.walk(folder, followlinks=True, onerror=locked):
        status = Path(parent).stat()
        if (status.st_dev, status.st_ino) in seen:  # a link to what was walked already
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        found.images.extend(Path(parent, n) for n in folders if is_image_name(n))
        entered, aside = folders_in(Path(parent), folders)
        found.aside.extend(aside)
        folders[:] = entered if nested else []
        _sort(Path(parent), files, found)
    found.images.sort()
    return found


def folders_in(parent: Path, names: Iterable[str] | None = None) -> tuple[list[str], list[LeftOut]]:
    """The names of the folders in one that may hold the person's images, sorted, and the images of
    the others, each with the reason.
    """
    if names is None:
        names = (p.name for p in parent.iterdir() if p.is_dir())
    entered, aside = [], []
    for name in sorted(names):
        why = _why_aside(parent / name)
        if why is None:
            entered.append(name)
        elif why == LOOP:
            aside.append((parent / name, why))
        else:
            aside += [(file, why) for file in _all_images(parent / name)]
    return entered, aside


def is_aside(file: Path, root: Path) -> bool:
    """Whether a file below a root lies in a folder that no images are taken from."""
    between = list(file.relative_to(root).parents)[:-1]
    return any(_why_aside(root / part) is not None for part in between) or file.name[:1] == "."


def _why_aside(folder: Path) -> str | None:
    """Why no images of a folder are taken; None where they are."""
    if folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve()):
        return LOOP
    if folder.name.startswith("."):
        return "an image in a hidden folder"
    if (what := _ASIDE.get(folder.name.casefold())) is not None:
        return f"an image in a folder {folder.name}, {what}"
    if is_own(folder):
        return OWN
    return None


def _all_images(folder: Path) -> Iterator[Path]:
    for parent, _, files in os.walk(folder):
        yield from (Path(parent, name) for name in sorted(files) if is_image_name(name))


def _sort(parent: Path, files: Iterable[str], found: Found) -> None:
    """Put the files of a folder where they belong."""
    for name in sorted(files):
        file, suffix = parent / name, Path(name).suffix.lower()
        if name.startswith("._"):
            found.aside.append((file, MAC))
        elif name.startswith("."):
            if is_image_name(name):
                found.aside.append((file, "a hidden image"))
        elif is_image_name(name):
            found.images.append(file)
        elif suffix in _OTHER_IMAGES:
            found.skipped.append((file, f"an image ending in {suffix}: convert it to PNG"))
        elif suffix not in _NO_IMAGES and _looks_like_an_image(file):
            what = f"ending in {suffix}" if suffix else "without an ending"
            found.skipped.append((file, f"an image {what}: name it as what it is, such as .png"))


def _looks_like_an_image(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            begin = stream.read(12)
    except OSError:
        return False
    return begin.startswith(_SIGNATURES) or (begin[:4] == b"RIFF" and begin[8:] == b"WEBP")
