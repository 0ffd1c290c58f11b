"""Generating, from files to files, against the network alone and against the plain way.

    python benchmarks/generate.py                       128 px, the networks of `standard`
    python benchmarks/generate.py --candidates 8        of each image the best of eight
    python benchmarks/generate.py --model runs/latest   trained ones, with the detail that they keep
    python benchmarks/generate.py --memory 200 20000    peak memory, a process for each number

Prints, of one run on one machine in turns, paintings a second, and the ratios:

generate        read, paint, judge, compose, write, record; nothing is rejected, for how many
                paintings that takes hangs on the model
forward alone   the generator in a loop at the same batch, with the choice of what it paints
networks alone  with the critic, which judges each painting: all that the model computes
plainly         open, generator, save, one image after the other

The work of a core counts what all threads of the process compute: on a machine that others use,
too, it says more than the clock.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from defectgan.devices import pick_device, place, synchronize
from defectgan.generation.plan import Sources, find_sources, make_plan
from defectgan.generation.request import GenerateJob
from defectgan.generation.run import run_job
from defectgan.images import read_picture, write_mask, write_picture
from defectgan.methods.config import load_config
from defectgan.model.file import Model, load_model
from defectgan.model.form import Form
from defectgan.model.info import ModelInfo
from defectgan.model.painter import Painter
from defectgan.model.pixels import model_view, row_noise
from defectgan.networks.compose import compose
from defectgan.views import Viewer

CLASSES = ("normal", "scratch", "dent", "stain")
FILES = 100


def untrained(preset: str, size: int, device: torch.device) -> Model:
    """A model of a preset's form with random weights: as fast as a trained one."""
    config = load_config(preset, {"data": {"image_size": size}})
    info = ModelInfo(Form.of(config), CLASSES, 3, calibrated=0.3)
    method = info.method()
    torch.manual_seed(0)
    networks = {
        name: place(net, device).eval().requires_grad_(False)
        for name, net in method.networks().items()
    }
    return Model(info, Painter(method, networks), Path(preset), "untrained")


def trained(path: Path, device: torch.device) -> Model:
    """Weights, with the threshold of their masks as if it were known: a job would paint first to
    find it, once.
    """
    model = load_model(path, device=device)
    return replace(model, info=replace(model.info, calibrated=0.3))


def draw(folder: Path, size: int) -> None:
    """Good images with the grain of a camera, which no codec compresses far."""
    rng = np.random.default_rng(0)
    for i in range(FILES):
        pixels = np.clip(rng.normal(120, 12, (size, size, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:03d}.png")


def whole(
    model: Model, sources: Sources, n: int, options: argparse.Namespace, device: torch.device
) -> float:
    """Seconds of a job."""
    made = tuple(model.info.made)
    job = GenerateJob(sources, made, n, 0, False, options.candidates, checks=None)
    with tempfile.TemporaryDirectory() as out:
        began = time.perf_counter()
        run_job(job, model, Path(out), device=device, batch_size=options.batch_size)
        return time.perf_counter() - began


@torch.no_grad()
def forward_alone(
    model: Model, batch: int, count: int, device: torch.device, *, judged: bool = False
) -> float:
    """Seconds of the generator's forward on so many images, and of the critic's where they are
    ``judged``.
    """
    painter, info = model.painter, model.info
    frame = info.form.view.image_size
    images = torch.rand(batch, info.channels, *frame, device=device) * 2 - 1
    images = images.contiguous(memory_format=torch.channels_last)
    noise = torch.randn(batch, painter.noise_size(*frame), device=device)
    labels = [1 + i % (len(info.classes) - 1) for i in range(batch)]
    control = painter.control(labels, device)
    began = time.perf_counter()
    for _ in range(count // batch):
        layer = painter.layer(images, control, noise)
        if judged and painter.has_critic:
            painter.opinion(compose(images, *layer), labels)
    synchronize(device)
    return (time.perf_counter() - began) / (count // batch * batch) * count


@torch.no_grad()
def plainly(model: Model, sources: Sources, count: int, device: torch.device) -> float:
    """Seconds of painting so many images one after the other, each kept."""
    painter, info = model.painter, model.info
    viewer = Viewer(info.form.view)
    with tempfile.TemporaryDirectory() as out:
        began = time.perf_counter()
        for (row,) in make_plan(sources.files, info.made, n=count, seed=0):
            assert row.source is not None
            picture = read_picture(row.source)
            view = viewer(picture.size)
            seen = model_view(picture, view, info.channels, picture.full)[None].to(device)
            noise = row_noise(row.seed, painter.noise_size(*viewer.frame))[None].to(device)
            control = painter.control([info.label_of(row.defect)], device)
            layer = painter.layer(seen, control, noise)
            painted = ((compose(seen, *layer)[0] + 1) * 127.5).round().to(torch.uint8)
            pixels = painted.permute(1, 2, 0).cpu().numpy()
            mask = (layer.mask[0, 0] * 255).round().to(torch.uint8).cpu().numpy()
            write_picture(Path(out, f"{row.name}.png"), type(picture)(pixels))
            write_mask(Path(out, f"{row.name}_mask.png"), mask)
        return time.perf_counter() - began


def speed(model: Model, folder: Path, options: argparse.Namespace, device: torch.device) -> None:
    sources, paintings = find_sources(str(folder)), options.n * options.candidates
    batch = options.batch_size
    ways: dict[str, tuple[int, Callable[[], float]]] = {
        "generate": (paintings, lambda: whole(model, sources, options.n, options, device)),
        "forward alone": (paintings, lambda: forward_alone(model, batch, paintings, device)),
        "networks alone": (
            paintings,
            lambda: forward_alone(model, batch, paintings, device, judged=True),
        ),
        "plainly": (options.plain, lambda: plainly(model, sources, options.plain, device)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    work: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(options.rounds + 1):  # the first one warms up
        for name, (count, way) in ways.items():
            before = time.process_time()
            each = way() / count
            if turn:
                seconds[name].append(each)
                work[name].append((time.process_time() - before) / count)
    took, worked = (
        {name: statistics.median(found) for name, found in all_.items()} for all_ in (seconds, work)
    )
    told: dict[str, object] = {f"{name}, paintings/s": round(1 / took[name], 1) for name in ways}
    told |= {f"{name}, ms of a core": round(1000 * worked[name], 1) for name in ways}
    told |= {
        "of the forward alone": round(took["forward alone"] / took["generate"], 3),
        "of the networks alone": round(took["networks alone"] / took["generate"], 3),
        "both by a core's work": [
            round(worked[name] / worked["generate"], 3)
            for name in ("forward alone", "networks alone")
        ],
        "times the plain way": round(took["plainly"] / took["generate"], 2),
        "device": str(device),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(told, indent=1))


def memory(options: argparse.Namespace) -> None:
    """Peak memory of jobs of different size, each in a process of its own."""
    peaks = {}
    for n in options.memory:
        words = [sys.argv[0], "--n", str(n), "--peak"]
        for name in ("size", "preset", "batch_size", "candidates", "device"):
            words += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
        said = subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True)
        peaks[n] = float(said.stdout)
        print(f"--n {n}: peak {peaks[n]:.0f} MiB")
    print(f"the largest is {max(peaks.values()) / min(peaks.values()):.3f} of the smallest")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--model", type=Path, help="in the place of untrained networks")
    parser.add_argument("--n", type=int, default=96)
    parser.add_argument("--plain", type=int, default=32, help="images of the plain way")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--candidates", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--memory", type=int, nargs="+", metavar="N")
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        memory(options)
        return
    device = pick_device(options.device)
    model = (
        trained(options.model, device)
        if options.model
        else untrained(options.preset, options.size, device)
    )
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder), options.size)
        if options.peak:
            whole(model, find_sources(folder), options.n, options, device)
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        else:
            speed(model, Path(folder), options, device)


if __name__ == "__main__":
    main()
