"""How fast images are found, and how fast they reach the trainer.

    python benchmarks/data.py index --files 100000     index time, cold and cached, and peak memory
    python benchmarks/data.py feed --side 640          images/s from memory, from disk and streamed
    python benchmarks/data.py wait --data DIR          share of a quick step that waits for data
    python benchmarks/data.py memory                   peak memory with 1,000 and with 20,000 files

Each measures in processes of its own, on files that it draws itself, and prints JSON.
"""

import argparse
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = ("normal", "scratch", "dent", "stain")


def draw(root: Path, files: int, side: int) -> None:
    """Random images of which no two are the same, half of them normal."""
    rng = np.random.default_rng(0)
    from PIL import Image

    noise = rng.integers(0, 256, (side, side), dtype=np.uint8)
    for name in CLASSES:
        (root / name).mkdir(parents=True)
    for i in range(files):
        name = CLASSES[0] if i % 2 else CLASSES[1 + i // 2 % (len(CLASSES) - 1)]
        noise.flat[:4] = np.frombuffer(np.uint32(i).tobytes(), np.uint8)
        Image.fromarray(noise).save(root / name / f"{i:06d}.png", compress_level=1)


def alone(measure: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Measure in a process of its own, and how much memory it took at most."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measured, measure, arguments).result()


def _measured(measure: Callable[..., dict[str, Any]], arguments: tuple[Any, ...]) -> dict[str, Any]:
    result = measure(*arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {**result, "peak_mib": round(peak / 1024, 1), "worker_mib": round(workers / 1024, 1)}


def time_index(root: Path) -> dict[str, Any]:
    from defectgan.data.index import index_data
    from defectgan.settings.data import DataConfig

    started = time.perf_counter()
    index = index_data(root, DataConfig())
    seconds = time.perf_counter() - started
    return {"files": len(index.samples), "seconds": round(seconds, 2)}


def time_feed(root: Path, cache: str, workers: int, steps: int, crop: bool) -> dict[str, Any]:
    """Batches alone, without a network; the first round fills what is kept."""
    from defectgan.data.index import index_data
    from defectgan.data.loader import Loader
    from defectgan.methods.config import Config, load_config
    from defectgan.settings.data import DataConfig
    from defectgan.training.batches import make_batches

    quick = load_config("quick", {})
    fit = "crop" if crop else "resize"
    data = DataConfig(image_size=64, cache=cache, fit=fit)
    config: Config = quick.model_copy(update={"data": data})
    index = index_data(root, data)
    with tempfile.TemporaryDirectory() as folder:
        batches = make_batches(config, index, folder=Path(folder))
        rates = []
        for _ in range(2):
            keys = list(product(range(steps), range(3)))
            with Loader(batches, keys, workers=workers) as ahead:
                started = time.perf_counter()
                for key in keys:
                    ahead(*key)
                seconds = time.perf_counter() - started
            rates.append(round(len(keys) * config.training.batch_size / seconds))
    return {"first_images_per_s": rates[0], "then_images_per_s": rates[1]}


def time_wait(root: Path, cache: str, workers: int | None, steps: int) -> dict[str, Any]:
    """The quick preset itself; the second half of the steps counts."""
    import torch

    from defectgan.data.index import index_data
    from defectgan.files import read_json_lines
    from defectgan.methods.config import load_config
    from defectgan.runs import new_run
    from defectgan.training.loop import Training

    class Quiet:
        def phase(self, text: str) -> None: ...
        def warmed(self, step: int, longest: int) -> None: ...
        def stepped(self, step: int) -> None: ...
        def logged(self, line: dict[str, Any]) -> None: ...
        def warn(self, text: str) -> None: ...

    training = {
        "steps": steps,
        "log_every": steps // 2,
    }
    data = {"cache": cache, "workers": workers}
    config = load_config(
        "quick", {"training": training, "data": data, "method": {"warmup_steps": 0}}
    )
    with tempfile.TemporaryDirectory() as folder:
        run = new_run(Path(folder), "wait")
        index = index_data(root, config.data)
        job = Training(config, index, run, device=torch.device("cpu"), watcher=Quiet())
        job.go(lambda: False)
        line = read_json_lines(run.stats)[-1]
    return {"data_wait": line["data_wait"], "seconds_per_step": line["seconds_per_step"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("index", "feed", "wait", "memory"))
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--side", type=int, default=64, help="pixels a side of the images drawn")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--crop", action="store_true", help="feed windows at native scale")
    parser.add_argument("--data", type=Path, help="wait: real images instead of drawn ones")
    options = parser.parse_args()
    table: dict[str, Any] = {"cores": len(os.sched_getaffinity(0))}
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["DEFECTGAN_CACHE"] = str(Path(scratch) / "cache")
        root = options.data or Path(scratch) / "images"
        if options.what == "memory":
            for files in (1000, 20_000):
                root = Path(scratch) / str(files)
                draw(root, files, options.side)
                table[f"index {files}"] = alone(time_index, root)
                table[f"stream {files}"] = alone(time_feed, root, "none", 1, options.steps, False)
        elif options.what == "index":
            draw(root, options.files, options.side)
            time.sleep(3)  # what has just changed is not kept
            table["cold"] = alone(time_index, root)
            table["cached"] = alone(time_index, root)
        else:
            if options.data is None:
                draw(root, min(options.files, 1000), options.side)
            for cache, workers in (("ram", 0), ("disk", 0), ("none", 0), ("none", 1), ("none", 2)):
                measure = (
                    (time_wait, root, cache, workers, options.steps)
                    if options.what == "wait"
                    else (time_feed, root, cache, workers, options.steps, options.crop)
                )
                table[f"{cache}, {workers} workers"] = alone(*measure)
    print(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
