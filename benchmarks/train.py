"""The training step against the plain way to write it, in one run on one machine.

    python benchmarks/train.py --shape quick        64 px, configs/quick.yaml: for a CPU
    python benchmarks/train.py --shape standard     128 px, batch 16, configs/standard.yaml
    python benchmarks/train.py --shape paper        128 px, batch 4, configs/paper.yaml
    python benchmarks/train.py --shape large        256 px, batch 16, the same networks

Prints images/s of both, data included, their ratio, the arithmetic of a step (convolutions and
matrix products), the rate achieved, and its share of what a large matrix product achieves here.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from defectgan import losses
from defectgan.batch import Batch
from defectgan.data.index import index_data
from defectgan.data.loader import Loader, worker_count
from defectgan.devices import bf16_serves, pick_device, synchronize
from defectgan.methods.base import CRITIC, Method
from defectgan.methods.config import Config, load_config
from defectgan.methods.registry import make_method
from defectgan.model.info import ModelInfo
from defectgan.networks.compose import compose
from defectgan.networks.critic import Critic
from defectgan.networks.generator import Generator
from defectgan.networks.layers import Conv, HeadConv
from defectgan.training.batches import make_batches
from defectgan.training.step import Engine

SHAPES: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {
    # What the critic is shown is the same small work in both ways.
    "quick": ("quick", {"augment": {"adaptive": False}}),
    "standard": ("standard", {"augment": {"adaptive": False}}),
    "paper": ("paper", {}),
    "large": ("paper", {"data": {"image_size": 256}, "training": {"batch_size": 16}}),
}
CLASSES = ("normal", "scratch", "dent", "stain")
FILES = 200


# --- the plain way: fp32, NCHW, eager, one thing after the other


def plain_normalize(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Instance normalization as the library has it, then the modulation."""
    return F.instance_norm(x) * scale + shift


def full_map(label: Tensor, image: Tensor) -> Tensor:
    """The control map at full resolution, as SPADE is usually fed."""
    return label[:, :, None, None].expand(-1, -1, *image.shape[2:])


class Plain:
    """The same method, networks and settings, written without any of the engine's means.

    Images are decoded each time, the SPADE branch runs at full resolution, real and fake images are
    judged one after the other, parameters are updated one by one, and each loss is read at once.
    """

    def __init__(self, config: Config, method: Method, device: torch.device) -> None:
        self.config = config
        self.device = device
        torch.manual_seed(0)
        networks = {name: net.to(device) for name, net in method.networks().items()}
        generator, critic = networks["generator"], networks[CRITIC]
        assert isinstance(generator, Generator) and isinstance(critic, Critic)
        self.generator, self.critic = generator, critic
        self.average = {n: p.detach().clone() for n, p in self.generator.named_parameters()}
        optim = config.optim
        self.adam = {
            net: torch.optim.Adam(net.parameters(), optim.lr, optim.betas, foreach=False)
            for net in (self.generator, self.critic)
        }

    def step(self, t: int, batches: Callable[[int, int], Batch]) -> dict[str, float]:
        """n_critic critic steps and one generator step."""
        terms: dict[str, float] = {}
        with (
            mock.patch("defectgan.networks.layers.normalize", plain_normalize),
            mock.patch.object(HeadConv, "forward", Conv.forward),
        ):
            n_critic = self.config.method.n_critic
            for part in range(n_critic):
                terms |= self.critic_step(*self.sides(batches(t, part)))
            terms |= self.generator_step(*self.sides(batches(t, n_critic)))
        decay = self.config.optim.ema
        for name, parameter in self.generator.named_parameters():
            self.average[name].mul_(decay).add_(parameter.detach(), alpha=1 - decay)
        return terms

    def sides(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        batch = Batch(*(part.contiguous().to(self.device) for part in batch))
        return batch.images, batch.real, batch.source, batch.target

    def paint(self, images: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        layer = self.generator(images, full_map(label, images), self.noise(images))
        return compose(images, layer.foreground, layer.mask), layer.mask

    def noise(self, like: Tensor) -> Tensor:
        size = self.generator.noise_size(*like.shape[2:])
        return torch.randn(len(like), size, device=self.device)

    def critic_step(
        self, images: Tensor, real: Tensor, source: Tensor, target: Tensor
    ) -> dict[str, float]:
        weights = self.config.method
        with torch.no_grad():
            fake, _ = self.paint(images, target)
        on_real, on_fake = self.critic(real, target), self.critic(fake, target)
        mixed = losses.interpolate(real, fake, torch.rand(len(real), device=self.device))
        mixed.requires_grad_()
        terms = {
            "wgan": losses.wasserstein_critic(on_real.score, on_fake.score),
            "gp": losses.gradient_penalty(self.critic.scores(mixed, target), mixed),
            "cls_r": losses.classification(on_real.logits, target),
        }
        loss = terms["wgan"] + weights.gp * terms["gp"] + weights.cls_r * terms["cls_r"]
        if weights.name == "robust":
            terms["cls_s"] = losses.classification(on_fake.logits, source)
            loss = loss + weights.cls_s * terms["cls_s"]
        return self.update(self.critic, loss, terms)

    def generator_step(
        self, images: Tensor, real: Tensor, source: Tensor, target: Tensor
    ) -> dict[str, float]:
        weights = self.config.method
        robust = weights.name == "robust"
        there, mask = self.paint(images, target)
        n = len(there) // 2 if robust else len(there)
        back, back_mask = self.paint(there[:n], source[:n])
        verdict = self.critic(there, target)
        share, part = torch.ones(len(there), device=self.device), n / len(there)
        if robust:
            share = losses.probability(verdict.logits.detach(), target)
        terms = {
            "adv": losses.wasserstein_generator(verdict.score),
            "cls_f": losses.classification(verdict.logits, target),
            "rec": part * losses.reconstruction(images[:n], back),
            "sd_cyc": part * losses.mask_cycle(mask[:n], back_mask),
            "sd_con": losses.mask_sparsity(mask, share)
            + part * losses.mask_sparsity(back_mask, share[:n]),
        }
        loss = sum(getattr(weights, name) * term for name, term in terms.items())
        assert isinstance(loss, Tensor)
        return self.update(self.generator, loss, terms)

    def update(
        self, net: Generator | Critic, loss: Tensor, terms: dict[str, Tensor]
    ) -> dict[str, float]:
        self.adam[net].zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.adam[net].step()
        return {name: term.item() for name, term in terms.items()}


# --- measuring


class Arithmetic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the floating-point operations of convolutions and matrix products."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if count := flop_registry.get(func._overloadpacket):
            self.count += count(*args, **(kwargs or {}), out_val=out)
        return out


def draw(root: Path, side: int) -> None:
    """JPEG photographs of nothing, twice the training size."""
    rng = np.random.default_rng(0)
    for i in range(FILES):
        folder = root / CLASSES[0 if i % 2 else 1 + i // 2 % (len(CLASSES) - 1)]
        folder.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        large = Image.fromarray(coarse).resize((2 * side, 2 * side), Image.Resampling.BICUBIC)
        large.save(folder / f"{i}.jpg")


def seconds_a_step(
    step: Callable[[int], Any], first: int, count: int, device: torch.device
) -> float:
    synchronize(device)
    started = time.perf_counter()
    for t in range(first, first + count):
        step(t)
    synchronize(device)
    return (time.perf_counter() - started) / count


def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a large matrix product."""
    side = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    seconds = seconds_a_step(lambda t: a @ b, 0, 20, device)
    return 2 * side**3 / seconds


@contextmanager
def feeds(config: Config, root: Path, steps: int, device: torch.device) -> Iterator[Any]:
    """Index, and the batches of the engine and of the plain way."""
    index = index_data(root, config.data)
    kept = make_batches(config, index)
    read = config.data.model_copy(update={"cache": "none"})
    anew = make_batches(config.model_copy(update={"data": read}), index)
    keys = product(range(steps), range(config.method.n_critic + 1))
    with Loader(kept, keys, workers=worker_count(None, kept, device)) as ahead:
        yield index, ahead, anew


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shape", choices=SHAPES, default="quick")
    parser.add_argument("--rounds", type=int, default=5, help="the two take turns")
    parser.add_argument("--steps", type=int, default=4, help="steps a turn")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = pick_device(options.device)
    preset, overrides = SHAPES[options.shape]
    config = load_config(preset, overrides)
    bf16 = bf16_serves(device, "auto")
    total = (options.rounds + 1) * options.steps
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder), config.data.image_size[0])
        with feeds(config, Path(folder), total, device) as (index, ahead, anew):
            task = ModelInfo.of(config, index).task
            method = make_method(config.method, task)
            engine = Engine(config, method, device=device, bf16=bf16)
            plain = Plain(config, method, device)
            ways: list[Callable[[int], Any]] = [
                lambda t: engine.step(t, ahead),
                lambda t: plain.step(t, anew),
            ]
            times: list[list[float]] = [[], []]
            for turn in range(options.rounds + 1):  # the first one warms up
                for way, taken in zip(ways, times, strict=True):
                    first = turn * options.steps
                    taken.append(seconds_a_step(way, first, options.steps, device))
            with Arithmetic() as arithmetic:
                engine.step(0, anew)
    ours, theirs = (float(np.median(taken[1:])) for taken in times)
    images = config.training.batch_size * (config.method.n_critic + 1)
    rate = arithmetic.count / ours
    best = product_rate(device, torch.bfloat16 if bf16 else torch.float32)
    print(
        json.dumps(
            {
                "shape": options.shape,
                "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
                "threads": torch.get_num_threads(),
                "torch": torch.__version__,
                "bf16": bf16,
                "engine_images_per_s": round(images / ours, 1),
                "plain_images_per_s": round(images / theirs, 1),
                "ratio": round(theirs / ours, 2),
                "gflop_per_step": round(arithmetic.count / 1e9, 1),
                "gflops": round(rate / 1e9, 1),
                "share_of_matrix_product": round(rate / best, 3),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
