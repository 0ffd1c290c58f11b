"""The networks of a training and their optimisers: what a step changes, and what a checkpoint
keeps.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from defectgan.config import Config
from defectgan.control import constant_map
from defectgan.data.dataset import Batch
from defectgan.devices import place, seeded
from defectgan.memory import attempt
from defectgan.model.file import below_prefix, with_prefix
from defectgan.model.info import ModelInfo
from defectgan.model.transfer import Classes, take_over
from defectgan.training.adaptive import adapted, augment, draw_augmentation
from defectgan.training.peers import ALONE, Peers
from defectgan.training.step import (
    Sides,
    Terms,
    classifier_loss,
    critic_loss,
    cycle,
    draw_noise,
    generator_loss,
    sides,
)

# In the place of a batch's part number: noise and batches have the same seed and step.
NOISE_STREAM = 2_000_000
# The weight of the running average approaches its decay as (1 + t) / (10 + t): early averages
# forget their start.
EMA_RAMP = 10
# The parts of a critic that learn at a rate of their own.
CLASSIFIERS = ("tower.", "heads.")
# Batches of the classifier's lead are told apart from those of the steps by this part number.
LEAD_PART = 1_000_000


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of those that hold a number that is not finite; the host waits for their device
    once.
    """
    sound = torch.stack([tensor.isfinite().all() for tensor in tensors.values()]).tolist()
    return [name for name, finite in zip(tensors, sound, strict=True) if not finite]


def risen(step: int, warmup: int) -> float:
    """The share of a weight that is in force if it rises linearly over ``warmup`` steps."""
    return min(1.0, step / warmup) if warmup else 1.0


@contextmanager
def standing_still(network: nn.Module) -> Iterator[None]:
    """A network that gets no gradients within, whatever ends it."""
    learning = [p for p in network.parameters() if p.requires_grad]
    try:
        for parameter in learning:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


class Engine:
    """Generator, its running average, critic, two Adam optimisers.

    ``step(t, batches)`` depends on the networks' and optimisers' state and on t: all that is drawn
    at random is a function of (seed, t), so a training that is resumed goes on exactly.
    """

    def __init__(
        self,
        config: Config,
        info: ModelInfo,
        *,
        device: torch.device,
        bf16: bool,
        peers: Peers = ALONE,
    ) -> None:
        self.info = info
        self.peers = peers
        self.config = config
        self.device = device
        self.bf16 = bf16
        self._skipped = torch.zeros((), device=device)
        self._strength = torch.zeros((), device=device)
        with seeded(config.training.seed):
            self.generator = place(info.generator(), device)
            self.critic = place(info.critic(), device)
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)
        self.optimisers = {
            "generator": self._optimiser(self.generator),
            "critic": self._optimiser(self.critic),
        }

    def _optimiser(self, network: nn.Module) -> torch.optim.Adam:
        optim = self.config.optim
        tower = [p for name, p in network.named_parameters() if name.startswith(CLASSIFIERS)]
        others = [p for name, p in network.named_parameters() if not name.startswith(CLASSIFIERS)]
        groups = [
            {"params": params, "lr": lr, "first_lr": lr}
            for params, lr in ((others, optim.lr), (tower, optim.tower_lr or optim.lr))
            if params
        ]
        return torch.optim.Adam(groups, betas=optim.betas, fused=True)

    def step(self, t: int, batches: Callable[[int, int], Batch]) -> Terms:
        """n_critic critic steps and one generator step; returns the named terms, still on the
        device, and ``skipped``: 1 where an update was left out because a loss or a gradient was
        not finite.
        """
        training = self.config.training
        self._skipped = torch.zeros((), device=self.device)
        self.set_learning_rates(t)
        rng = self._rng(t)
        terms: Terms = {}
        parts = [self._sides(batches(t, part)) for part in range(training.n_critic)]
        for batch, fake in zip(parts, self._fakes(parts, rng), strict=True):
            terms |= self._critic_step(batch, fake, rng)
        last = self._sides(batches(t, training.n_critic))
        terms |= self._generator_step(last, rng, t)
        self._update_average(t)
        terms["skipped"] = self._skipped.sign()
        return {name: term.detach() for name, term in terms.items()}

    def _sides(self, batch: Batch) -> Sides:
        return sides(batch.to(self.device), multi_label=self.info.multi_label)

    def _rng(self, t: int) -> torch.Generator:
        seed = np.random.SeedSequence([self.config.training.seed, t, NOISE_STREAM])
        return torch.Generator(self.device).manual_seed(int(seed.generate_state(1)[0]))

    def lead_step(self, t: int, batches: Callable[[int, int], Batch]) -> Terms:
        """A step of the classifier alone, before the generator's first one."""
        batch = self._sides(batches(t, LEAD_PART))
        with self._autocast():
            loss = classifier_loss(self.critic, batch)
        self._update("critic", self.config.loss.cls_r * loss)
        return {"cls_r": loss.detach()}

    @torch.no_grad()
    def _fakes(self, parts: Sequence[Sides], rng: torch.Generator) -> tuple[Tensor, ...]:
        """The fakes of all critic steps in one pass: the generator stands still meanwhile."""
        images = torch.cat([batch.images for batch in parts])
        target = torch.cat([batch.target for batch in parts])
        with self._autocast():
            noise = torch.cat([self._draw_noise(batch, rng) for batch in parts])
            fakes, _ = self.generator.paint(images, constant_map(target), noise)
        return fakes.chunk(len(parts))

    def _critic_step(self, batch: Sides, fake: Tensor, rng: torch.Generator) -> Terms:
        with self._autocast():
            t = self._own(torch.rand(self._batch_size(batch), generator=rng, device=self.device))
            batch = batch._replace(real=self._shown(batch.real, batch, rng))
            fake = self._shown(fake, batch, rng)
            total, terms = critic_loss(self.critic, batch, fake, t, self.config.loss)
        self._update("critic", total)
        return terms | self._adapt(terms["sureness"])

    def _shown(self, images: Tensor, batch: Sides, rng: torch.Generator) -> Tensor:
        """What the critic is shown of a batch's images."""
        if not self.config.augment.adaptive:
            return images
        drawn = draw_augmentation(self._batch_size(batch), rng)
        return augment(images, self._own(drawn), self._strength)

    def _adapt(self, sureness: Tensor) -> Terms:
        """Let the strength of the augmentation follow the classifier's success."""
        if not self.config.augment.adaptive:
            return {}
        sureness = sureness.clone()
        self.peers.average([sureness])
        training = self.config.training
        self._strength = adapted(self._strength, sureness, training.steps * training.n_critic)
        return {"augmented": self._strength}

    def _generator_step(self, batch: Sides, rng: torch.Generator, t: int) -> Terms:
        noise = (self._draw_noise(batch, rng), self._draw_noise(batch, rng))
        with standing_still(self.critic):
            with self._autocast():
                defects = self.config.loss.cycle_defects
                passes = cycle(self.generator, batch, noise, defects=defects)
                total, terms = generator_loss(
                    self.critic,
                    batch,
                    passes,
                    self.config.loss,
                    warmup=risen(t, self.config.loss.sparsity_warmup),
                    shown=self._shown(passes.there, batch, rng),
                )
            self._update("generator", total)
        deface, restore = passes.mask.detach().chunk(2)
        return terms | {"mask_deface": deface.mean(), "mask_restore": restore.mean()}

    def _batch_size(self, batch: Sides) -> int:
        """Of the whole batch, of which this process has its part."""
        return len(batch.images) * self.peers.size

    def _own(self, drawn: Tensor) -> Tensor:
        """This process's rows of what was drawn for the whole batch, normal images first."""
        rows = self.peers.part(len(drawn) // 2)
        return torch.cat([half[rows] for half in drawn.chunk(2)])

    def _draw_noise(self, batch: Sides, rng: torch.Generator) -> Tensor:
        size = self.generator.noise_size(*batch.images.shape[2:])
        return self._own(draw_noise(self._batch_size(batch), size, rng).to(self.device))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def _update(self, network: str, loss: Tensor) -> None:
        adam = self.optimisers[network]
        adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        parameters = (p for group in adam.param_groups for p in group["params"])
        gradients = [p.grad for p in parameters if p.grad is not None]
        loss = loss.detach().clone()
        self.peers.average([loss, *gradients])
        norms = torch._foreach_norm(gradients)
        bad = torch.stack([loss, *norms]).isfinite().all().logical_not().to(torch.float32)
        # Fused Adam leaves everything as it is where this is 1, without the host having to know.
        adam.found_inf = bad  # type: ignore[attr-defined]
        adam.step()
        self._skipped += bad

    def largest_batch(self, size: int, batches: Callable[[int, int], Batch]) -> int:
        """The first of half the size, a quarter ... for which memory suffices; 0 if none does.

        The networks take steps meanwhile: nothing but the answer may be used afterwards.
        """
        while size > 2:
            size = size // 4 * 2
            half = size // 2
            if attempt(lambda: self.step(0, lambda *key: batches(*key).first(half))):  # noqa: B023
                return size
        return 0

    def set_learning_rates(self, t: int) -> None:
        """To those of step t: linear from each group's first at the first step to ``final_lr`` at
        the last.
        """
        last, done = self.config.optim.final_lr, t / max(1, self.config.training.steps - 1)
        for adam in self.optimisers.values():
            for group in adam.param_groups:
                group["lr"] = group["first_lr"] + (last - group["first_lr"]) * done

    @torch.no_grad()
    def _update_average(self, t: int) -> None:
        decay = min(self.config.optim.ema, (1 + t) / (EMA_RAMP + t))
        torch._foreach_lerp_(
            list(self.average.parameters()), list(self.generator.parameters()), 1 - decay
        )

    def begin_from(self, tensors: Mapping[str, Tensor], classes: Classes) -> bool:
        """Start with the weights of an earlier training; whether they had a critic.

        Raises:
            ModelError: if they are those of other networks.
        """
        take_over(self.generator, below_prefix("generator", tensors), classes)
        self.average.load_state_dict(self.generator.state_dict())
        critic = below_prefix("critic", tensors)
        if critic:
            take_over(self.critic, critic, classes)
        return bool(critic)

    def weights(self) -> dict[str, Tensor]:
        """All that generating and judging needs: the averaged generator and the critic."""
        return with_prefix("generator", self.average.state_dict()) | with_prefix(
            "critic", self.critic.state_dict()
        )

    def state(self) -> dict[str, Tensor]:
        """All that going on needs, optimisers included."""
        tensors = self.weights() | with_prefix("raw", self.generator.state_dict())
        tensors["strength"] = self._strength
        for network, adam in self.optimisers.items():
            for i, slots in adam.state_dict()["state"].items():
                tensors |= with_prefix(f"adam.{network}.{i}", slots)
        return tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what ``state`` gave."""
        self.average.load_state_dict(below_prefix("generator", tensors))
        self.critic.load_state_dict(below_prefix("critic", tensors))
        self.generator.load_state_dict(below_prefix("raw", tensors))
        self._strength = tensors["strength"].to(self.device)
        for network, adam in self.optimisers.items():
            slots: dict[int, dict[str, Tensor]] = {}
            for name, tensor in below_prefix(f"adam.{network}", tensors).items():
                i, slot = name.split(".")
                if tensor.ndim == 4:  # as the parameter that it belongs to lies in memory
                    tensor = tensor.contiguous(memory_format=torch.channels_last)
                slots.setdefault(int(i), {})[slot] = tensor
            adam.load_state_dict({**adam.state_dict(), "state": slots})
