"""How long the report of many images takes to build and to show, and how large it is.

    python benchmarks/report.py --images 2000 --side 128

Images of noise over gradients, which compress badly, with soft masks and true ones. Inference is
left out: what is timed is all that comes after it. The first paint is that of Chromium, where it is
installed with its driver and selenium.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from defectgan.inspection.inspect_masks import inspect
from defectgan.inspection.subject import GENERATED, Subject
from defectgan.inspection.targets import Target
from defectgan.model.info import MASK_THRESHOLD

CLASSES = ("thread", "brushing", "tin", "wound")


class Drawn:
    """``count`` images of side x side pixels, drawn before anything is timed."""

    def __init__(self, count: int, side: int) -> None:
        self.damaged: dict[Path, str] = {}
        self._subjects = [drawn(i, side) for i in range(count)]

    def __len__(self) -> int:
        return len(self._subjects)

    def __iter__(self) -> Iterator[Subject]:
        yield from self._subjects


def drawn(i: int, side: int) -> Subject:
    """Image i: a gradient with noise, a soft spot and its true mask."""
    rng = np.random.default_rng(i)
    y, x = np.indices((side, side), dtype=np.float32) / side
    colour = rng.uniform(60, 200, 3).astype(np.float32)
    before = colour * (0.6 + 0.4 * x[..., None]) + rng.normal(0, 8, (side, side, 3))
    far = np.hypot(x - rng.uniform(0.2, 0.8), y - rng.uniform(0.2, 0.8)).astype(np.float32)
    mask = np.clip(1.2 - far / rng.uniform(0.08, 0.2), 0, 1) * rng.uniform(0.5, 1)
    after = before * (1 - mask[..., None]) + 250 * mask[..., None]
    return Subject(
        name=f"{CLASSES[i % 4]}/{i:06d}.png",
        defect=CLASSES[i % 4],
        direction=GENERATED,
        before=before.clip(0, 255).astype(np.uint8),
        after=after.clip(0, 255).astype(np.uint8),
        mask=mask.astype(np.float32),
        truth=far < 0.1,
        change=np.abs(after - before).max(axis=2).astype(np.float32),
        digest=str(i),
    )


def first_paint(page: Path) -> dict[str, float]:
    """Seconds from opening the page to its first paint with content and to its script's end."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--window-size=1366,768"):
        options.add_argument(argument)
    browser: Any = webdriver.Chrome(
        options=options, service=webdriver.ChromeService(shutil.which("chromedriver"))
    )
    try:
        browser.get(page.resolve().as_uri())
        paint, loaded = browser.execute_script(
            "return [performance.getEntriesByName('first-contentful-paint')[0].startTime,"
            "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd]"
        )
    finally:
        browser.quit()
    return {"first paint": paint / 1000, "all there": loaded / 1000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--side", type=int, default=128, help="pixels a side of an image")
    options = parser.parse_args()
    subjects: Any = Drawn(options.images, options.side)
    with tempfile.TemporaryDirectory() as folder:
        thresholds = dict.fromkeys(CLASSES, MASK_THRESHOLD)
        target = Target("a benchmark", {}, CLASSES, subjects, Path(folder), thresholds)
        started, worked = time.perf_counter(), time.process_time()
        result = inspect(target)
        seconds, busy = time.perf_counter() - started, time.process_time() - worked
        print(f"built in {seconds:.1f} s, of which the processor worked for {busy:.1f} s")
        print(f"{result.report.stat().st_size / 1e6:.1f} MB")
        if not (shutil.which("chromium") and shutil.which("chromedriver")):
            print("no chromium with its driver here: the first paint is not measured")
            return
        for name, seconds in first_paint(result.report).items():
            print(f"{name} after {seconds:.2f} s")


if __name__ == "__main__":
    main()
