"""The networks of a training, their running averages and optimisers: what a step changes, and what
a checkpoint keeps.
"""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from defectgan.devices import place, seeded
from defectgan.methods.base import Method, Player
from defectgan.methods.config import Config
from defectgan.model.file import below_prefix, with_prefix
from defectgan.model.painter import Painter
from defectgan.model.transfer import Classes, take_over
from defectgan.training.optimisers import RMSprop

# The decay of a running average approaches its own as (1 + t) / (10 + t): early averages forget
# their start.
EMA_RAMP = 10


class State:
    """Networks with fresh weights, drawn by the seed of the training."""

    def __init__(self, config: Config, method: Method, *, device: torch.device) -> None:
        self.config, self.method, self.device = config, method, device
        with seeded(config.training.seed):
            self.networks = {n: place(net, device) for n, net in method.networks().items()}
        self.averages = {
            name: copy.deepcopy(self.networks[name]).eval().requires_grad_(False)
            for name in method.averaged
        }
        self.players = method.players()
        self.optimisers = {player.name: self._optimiser(player) for player in self.players}
        # Of the augmentation of what critics are shown.
        self.strength = torch.zeros((), device=device)

    def _optimiser(self, player: Player) -> torch.optim.Adam | RMSprop:
        optim = self.config.optim
        rates = {**player.rates, "": optim.lr}
        groups: dict[str, list[nn.Parameter]] = {start: [] for start in reversed(rates)}
        for network in player.trains:
            for name, parameter in self.networks[network].named_parameters(prefix=network):
                groups[next(start for start in rates if name.startswith(start))].append(parameter)
        sets = [
            {"params": params, "lr": rates[start], "first_lr": rates[start]}
            for start, params in groups.items()
            if params
        ]
        if player.optimiser == "rmsprop":
            return RMSprop(sets)
        return torch.optim.Adam(sets, betas=optim.betas, fused=True)

    @property
    def painting(self) -> Painter:
        """What paints: the averages, where there are any."""
        return Painter(self.method, {**self.networks, **self.averages})

    def set_learning_rates(self, t: int) -> None:
        """To those of step t: each group's first, then falling linearly to ``final_lr`` at the
        last.
        """
        optim, last = self.config.optim, max(1, self.config.training.steps - 1)
        done = max(0.0, t / last - optim.constant) / (1 - optim.constant)
        for optimiser in self.optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = group["first_lr"] + (optim.final_lr - group["first_lr"]) * done

    @torch.no_grad()
    def update_averages(self, t: int) -> None:
        """Let them follow what step t has made."""
        decay = min(self.config.optim.ema, (1 + t) / (EMA_RAMP + t))
        for name, average in self.averages.items():
            now: list[Tensor] = list(self.networks[name].parameters())
            mean: list[Tensor] = list(average.parameters())
            torch._foreach_lerp_(mean, now, 1 - decay)

    def begin_from(
        self, tensors: Mapping[str, Tensor], classes: Classes, channels: int
    ) -> Sequence[str]:
        """Start with the weights of an earlier training on images of so many channels; which
        networks it had none of.

        Raises:
            ModelError: if they are those of other networks.
        """
        absent = []
        for name, network in self.networks.items():
            if not list(network.parameters()):
                continue
            kept = below_prefix(name, tensors)
            if kept or name in self.averages:
                now = self.method.task.channels
                take_over(network, kept, classes, (channels, now))
            else:
                absent.append(name)
        for name, average in self.averages.items():
            average.load_state_dict(self.networks[name].state_dict())
        return absent

    def weights(self) -> dict[str, Tensor]:
        """All that painting and judging needs: the averages, and the networks that have none."""
        return {
            key: tensor
            for name, network in {**self.networks, **self.averages}.items()
            for key, tensor in with_prefix(name, network.state_dict()).items()
        }

    def tensors(self) -> dict[str, Tensor]:
        """All that going on needs, optimisers included."""
        tensors = self.weights()
        for name in self.averages:
            tensors |= with_prefix(f"raw.{name}", self.networks[name].state_dict())
        for name, network in self.networks.items():
            tensors |= with_prefix(f"memory.{name}", _memory(network))
        tensors["strength"] = self.strength
        for player, adam in self.optimisers.items():
            for i, slots in adam.state_dict()["state"].items():
                tensors |= with_prefix(f"adam.{player}.{i}", slots)
        return tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what ``tensors`` gave."""
        for name, network in {**self.networks, **self.averages}.items():
            network.load_state_dict(below_prefix(name, tensors))
        for name in self.averages:
            # Up to format 3 there was one network with an average, and its name was left out.
            raw = below_prefix(f"raw.{name}", tensors) or below_prefix("raw", tensors)
            self.networks[name].load_state_dict(raw)
        for name, network in self.networks.items():
            _remember(network, below_prefix(f"memory.{name}", tensors), self.device)
        self.strength = tensors["strength"].to(self.device)
        for player, adam in self.optimisers.items():
            slots: dict[int, dict[str, Tensor]] = {}
            for name, tensor in below_prefix(f"adam.{player}", tensors).items():
                i, slot = name.split(".")
                if tensor.ndim == 4:  # as the parameter that it belongs to lies in memory
                    tensor = tensor.contiguous(memory_format=torch.channels_last)
                slots.setdefault(int(i), {})[slot] = tensor
            adam.load_state_dict({**adam.state_dict(), "state": slots})


def _memory(network: nn.Module) -> dict[str, Tensor]:
    """What a network holds that belongs to its training and to no model: what its modules name in
    ``remembered``, as far as there is any.
    """
    held = {
        f"{name}.{own}" if name else own: getattr(module, own)
        for name, module in network.named_modules()
        for own in getattr(module, "remembered", ())
    }
    return {name: tensor for name, tensor in held.items() if tensor.numel()}


def _remember(network: nn.Module, memory: Mapping[str, Tensor], device: torch.device) -> None:
    for name, tensor in memory.items():
        owner, _, own = name.rpartition(".")
        setattr(network.get_submodule(owner), own, tensor.to(device))
