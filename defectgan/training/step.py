"""A step of any method: its players in turn, each on batches of its own."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from defectgan.batch import Batch
from defectgan.devices import upload_batch
from defectgan.memory import attempt
from defectgan.methods.base import Method, Player, Terms
from defectgan.methods.config import Config
from defectgan.methods.draws import Draws
from defectgan.training.adaptive import adapted
from defectgan.training.distributed import ALONE, World
from defectgan.training.state import State

# In the place of a batch's part number: noise and batches have the same seed and step.
NOISE_STREAM = 2_000_000
# Batches of the warm-up are told apart from those of the steps by this part number.
WARMUP_PART = 1_000_000
# Of a player's terms: how sure its classifier is of real images.
SURENESS = "sureness"

Batches = Callable[[int, int], Batch]


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of those that hold a number that is not finite; the host waits for their device
    once.
    """
    sound = torch.stack([tensor.isfinite().all() for tensor in tensors.values()]).tolist()
    return [name for name, finite in zip(tensors, sound, strict=True) if not finite]


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
    """Takes the steps of a training.

    ``step(t, batches)`` depends on the state and on t: all that is drawn at random is a function of
    (seed, t), so a training that is resumed goes on exactly.
    """

    def __init__(
        self,
        config: Config,
        method: Method,
        *,
        device: torch.device,
        bf16: bool,
        world: World = ALONE,
    ) -> None:
        """Args: the settings, the method with all of its own, where and in what precision to
        compute, and the processes that share each batch.
        """
        self.config, self.device, self.bf16, self.world = config, device, bf16, world
        self.state = State(config, method, device=device)
        self.warm_up = method.warm_up()
        self._skipped = torch.zeros((), device=device)

    @property
    def batches_per_step(self) -> int:
        """How many batches the players of a step take."""
        return sum(player.repeats for player in self.state.players)

    @property
    def drawn_parts(self) -> frozenset[int]:
        """The batches of a step that have drawn defects."""
        flags = [player.drawn for player in self.state.players for _ in range(player.repeats)]
        return frozenset(part for part, drawn in enumerate(flags) if drawn)

    def step(self, t: int, batches: Batches) -> Terms:
        """The players' updates and that of the averages; returns the named terms, still on the
        device, and ``skipped``: 1 where an update was left out because a loss or a gradient was
        not finite.
        """
        self._skipped = torch.zeros((), device=self.device)
        self.state.set_learning_rates(t)
        rng, terms, part = self._rng(t), Terms(), 0
        for player in self.state.players:
            parts = [self._batch(batches, t, part + i) for i in range(player.repeats)]
            part += player.repeats
            terms |= self._play(player, parts, rng, t)
        self.state.update_averages(t)
        return terms | {"skipped": self._skipped.sign()}

    def warm_up_step(self, t: int, batches: Batches) -> Terms:
        """A step of the warm-up's player alone, before the first step of all."""
        assert self.warm_up is not None
        return self._play(
            self.warm_up.player, [self._batch(batches, t, WARMUP_PART)], self._rng(t), t
        )

    def _batch(self, batches: Batches, t: int, part: int) -> Batch:
        return upload_batch(batches(t, part), self.device)

    def _rng(self, t: int) -> torch.Generator:
        seed = np.random.SeedSequence([self.config.training.seed, t, NOISE_STREAM])
        return torch.Generator(self.device).manual_seed(int(seed.generate_state(1)[0]))

    def _draws(self, rng: torch.Generator, t: int) -> Draws:
        strength = self.state.strength if self.config.augment.adaptive else None
        world = self.world
        return Draws(
            rng,
            t,
            rows=world.part,
            processes=world.size,
            strength=strength,
            gathered=world.gathered,
        )

    def _play(self, player: Player, parts: list[Batch], rng: torch.Generator, t: int) -> Terms:
        """A player's updates, one for each batch."""
        networks, terms = self.state.networks, Terms()
        made = self._ahead(player, parts, rng, t)
        for batch, given in zip(parts, made, strict=True):
            with ExitStack() as still:
                for name in networks.keys() - set(player.trains):
                    still.enter_context(standing_still(networks[name]))
                with self._autocast():
                    loss, said = player.loss(networks, batch, self._draws(rng, t), given)
                self._update(player.name, loss)
                if player.after is not None:
                    player.after(networks)
            terms |= {name: term.detach() for name, term in said.items()}
            if SURENESS in said:
                terms |= self._adapt(player, terms[SURENESS])
        return terms

    @torch.no_grad()
    def _ahead(self, player: Player, parts: list[Batch], rng: torch.Generator, t: int) -> list[Any]:
        if player.ahead is None:
            return [None] * len(parts)
        with self._autocast():
            return list(player.ahead(self.state.networks, parts, self._draws(rng, t)))

    def _adapt(self, player: Player, sureness: Tensor) -> Terms:
        """Let the strength of the augmentation follow the classifier's success."""
        if not self.config.augment.adaptive:
            return {}
        sureness = sureness.clone()
        self.world.average([sureness])
        steps = self.config.training.steps * player.repeats
        self.state.strength = adapted(self.state.strength, sureness, steps)
        return {"augmented": self.state.strength}

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def _update(self, player: str, loss: Tensor) -> None:
        optimiser = self.state.optimisers[player]
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        parameters = (p for group in optimiser.param_groups for p in group["params"])
        gradients = [p.grad for p in parameters if p.grad is not None]
        loss = loss.detach().clone()
        self.world.average([loss, *gradients])
        norms = torch._foreach_norm(gradients)
        bad = torch.stack([loss, *norms]).isfinite().all().logical_not().to(torch.float32)
        # It leaves everything as it is where this is 1, without the host having to know.
        optimiser.found_inf = bad  # type: ignore[union-attr]
        optimiser.step()
        self._skipped += bad

    def largest_batch(self, size: int, batches: Batches) -> int:
        """The first of half the size, a quarter ... for which memory suffices; 0 if none does.

        The networks take steps meanwhile: nothing but the answer may be used afterwards.
        """
        while size > 2:
            size = size // 4 * 2
            half = size // 2
            if attempt(lambda: self.step(0, lambda *key: batches(*key).first(half))):  # noqa: B023
                return size
        return 0
