"""MVTec AD and what follows it: ROOT/train/good, ROOT/test/<defect>, and the true masks in
ROOT/ground_truth/<defect>/<stem>_mask.png; of MVTec LOCO a folder of masks for each image, of BTAD
masks called like their images.
"""

from pathlib import Path

from defectgan.data.facts import Facts
from defectgan.data.layouts.base import Listing, find_normal, is_mask_folder, subfolders
from defectgan.data.layouts.folders import about_unmasked
from defectgan.data.pairing import Masks, about_unmatched, apart, pair
from defectgan.data.samples import TEST, TRAIN, VAL, Sample, is_normal_name, split_name
from defectgan.data.walk import Found, find_images
from defectgan.names import class_name

TESTS = ("test", "test_public")


def recognises(root: Path) -> bool:
    """Only good images to train on, and the defects in test."""
    if not root.is_dir():
        return False
    folders = subfolders(root)
    test = next((folders[name] for name in TESTS if name in folders), None)
    if TRAIN not in folders or test is None:
        return False
    trained = subfolders(folders[TRAIN])
    tested = [name for name in subfolders(test) if not is_mask_folder(name)]
    return (
        bool(trained)
        and all(is_normal_name(name) for name in trained)
        and any(not is_normal_name(name) for name in tested)
    )


def read(root: Path, normal: str | None) -> Listing:
    """The listing of a set for anomaly detection."""
    folders = subfolders(root)
    test = next(folders[name] for name in TESTS if name in folders)
    train = subfolders(folders[TRAIN])
    tested = {n: p for n, p in subfolders(test).items() if not is_mask_folder(n)}
    for defect in tested:
        class_name(defect, f"a folder in {test}")
    name = find_normal(folders[TRAIN], list(train), normal)
    defects = tuple(n for n in tested if not is_normal_name(n))
    found, samples = Found([], [], []), []
    goods = [(train[name], TRAIN)]
    goods += [(p, VAL) for n, p in _validation(folders).items() if is_normal_name(n)]
    goods += [(p, TEST) for n, p in tested.items() if is_normal_name(n)]
    for folder, split in goods:
        seen = find_images(folder)
        found += seen
        samples += [Sample(file, (), split=split) for file in seen.images]
    images: list[Path] = []
    masks: Masks = {}
    for defect in defects:
        seen = find_images(tested[defect])
        shown, beside = apart(seen.images, Facts())
        found += seen
        masks |= beside
        images += shown
        samples += [Sample(file, (defect,)) for file in shown]
    notes = [
        "the defects come from test/: they are then spent for testing; --holdout keeps some of them"
    ]
    for parent in (root, test):
        for place in (p for n, p in subfolders(parent).items() if is_mask_folder(n)):
            seen = find_images(place)
            paired = pair(images, test, seen.images, place)
            masks |= paired.masks
            good = [m for m in paired.unmatched if not _is_of_good(m, place)]
            notes += about_unmatched(good, images)
    if masks:
        notes += about_unmasked(samples, masks)
    made = tuple(
        Sample(s.file, s.labels, split=s.split, truths=masks.get(s.file, ())) for s in samples
    )
    skipped, aside = tuple(found.skipped), tuple(found.aside)
    return Listing(root, "mvtec", name, defects, made, tuple(notes), skipped, aside)


def _validation(folders: dict[str, Path]) -> dict[str, Path]:
    place = next((p for n, p in folders.items() if split_name(n) == VAL), None)
    return {} if place is None else subfolders(place)


def _is_of_good(mask: Path, place: Path) -> bool:
    """Whether a mask stands in a folder of good images: those have none to match."""
    return any(is_normal_name(part) for part in mask.relative_to(place).parts[:-1])
