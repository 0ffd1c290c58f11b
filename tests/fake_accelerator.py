"""Steps of a preset's training on a GPU that is not there: ``python -m tests.fake_accelerator
PRESET [FAULT]`` prints what would fail or wait on a real one, a line each.

torch lets a program name a backend of its own, whose tensors have a device and a shape and no
contents. Every operation passes by here; what mixes devices, reads back to the host or copies
memory that is not pinned is found. Run in a process of its own: the backend stays.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from defectgan import devices, losses
from defectgan.batch import Batch
from defectgan.memory import Portions
from defectgan.methods.base import Method, Task
from defectgan.methods.config import Config, load_config
from defectgan.methods.registry import make_method
from defectgan.training import state as states
from defectgan.training.monitor import Averages
from defectgan.training.step import Engine

NAME = "fakegpu"
CLASSES = ("normal", "a", "b")
CHANNELS = 3
CRITIC_STEPS = 2
READS = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero")


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes each operation that a GPU could not do, or that the host would wait for."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []
        self.operations = self.uploads = 0
        self.pinned: list[Tensor] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        self.operations += 1
        name = func._schema.name.removeprefix("aten::")
        given: list[Tensor] = []
        tree_map_only(Tensor, given.append, (args, kwargs))
        devices = {tensor.device.type for tensor in given}
        if name in READS and NAME in devices:
            self.found.append(f"{name} reads back to the host")
        if len(devices) > 1 and name != "copy_":
            self.found.append(f"{name} mixes devices")
        made = func(*args, **kwargs)
        if name in ("_to_copy", "copy_"):
            target = made.device.type if name == "_to_copy" else args[0].device.type
            source = args[0 if name == "_to_copy" else 1]
            at_once = kwargs.get("non_blocking") or any(args[2:])
            self._copied(source, target, waits=not at_once)
        return made

    def _copied(self, source: Tensor, target: str, *, waits: bool) -> None:
        if source.device.type == NAME and target == "cpu":
            self.found.append("a copy reads back to the host")
        if source.device.type == "cpu" and target == NAME and source.numel():
            self.uploads += 1
            if waits or not any(source is tensor for tensor in self.pinned):
                self.found.append("a copy of pageable memory waits for the device")

    def pin(self, tensor: Tensor) -> Tensor:
        """In the place of ``Tensor.pin_memory``, which only a real device has."""
        self.pinned.append(tensor)
        return tensor


def gpu() -> torch.device:
    return torch.device(NAME, 0)


class Randomness:
    """In the place of a device's ``torch.Generator``."""

    @property
    def device(self) -> torch.device:
        return gpu()


def without_generator(draw: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda *size, generator=None, **options: draw(*size, **options)


def placed(network: nn.Module, device: torch.device) -> nn.Module:
    """``place`` sets contents, which these tensors do not have."""
    for module in network.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                empty = torch.empty(parameter.shape, device=device)
                if empty.ndim == 4:
                    empty = empty.to(memory_format=torch.channels_last)
                module._parameters[name] = nn.Parameter(empty)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, device=device)
    return network


def copier(method: Method) -> Callable[[nn.Module], nn.Module]:
    """In the place of ``copy.deepcopy``, which sets contents too."""

    def copied(network: nn.Module) -> nn.Module:
        (another,) = (n for n in method.networks().values() if type(n) is type(network))
        return placed(another, gpu())

    return copied


@contextmanager
def fake_gpu(watch: Watch, method: Method) -> Iterator[None]:
    """Within, torch has a device ``fakegpu``."""
    backend_registration._setup_privateuseone_for_python_backend(rename=NAME)
    with (
        FakeTensorMode(allow_non_fake_inputs=True),
        mock.patch.object(torch, "rand", without_generator(torch.rand)),
        mock.patch.object(torch, "randn", without_generator(torch.randn)),
        mock.patch.object(Tensor, "pin_memory", lambda tensor: watch.pin(tensor)),
        mock.patch.object(Engine, "_rng", lambda self, t: Randomness()),
        # Which operations are in bf16 is the same on every device, and nothing of this backend's.
        mock.patch.object(Engine, "_autocast", lambda self: nullcontext()),
        mock.patch.object(torch, "autocast", lambda *given, **options: nullcontext()),
        mock.patch.object(states, "place", placed),
        mock.patch.object(states, "copy", SimpleNamespace(deepcopy=copier(method))),
    ):
        yield


def batches(config: Config, method: Method) -> Callable[[int, int], Batch]:
    """Batches as the loader hands them over: on the CPU."""
    half, size = config.training.batch_size // 2, config.data.image_size
    images = (half, CHANNELS, *size)
    truth = (half, 1, *size) if method.wants_truths else (0,)
    shapes = (images, images, (half, len(CLASSES)), truth)
    shown = 2 * max(1, half // 2)
    drawn = (shown, CHANNELS, *size), (shown, 1, *size)
    players = [player for player in method.players() for _ in range(player.repeats)]

    def made(step: int, part: int) -> Batch:
        asked = part < len(players) and players[part].drawn
        more = drawn if asked else ((0,), (0,))
        return Batch(*(torch.empty(shape) for shape in (*shapes, *more, (0,))))

    return made


def train(config: Config, method: Method, watch: Watch) -> None:
    """A step of the warm-up, a step, a stop between two log lines, going on, and a step; what is
    drawn for a sample sheet.
    """
    made = batches(config, method)
    trained = Engine(config, method, device=gpu(), bf16=True)
    averages = Averages()
    with watch:
        if trained.warm_up is not None:
            trained.warm_up_step(0, made)
        averages.add(trained.step(0, made))
    kept = {n: torch.empty(t.shape, dtype=t.dtype) for n, t in trained.state.tensors().items()}
    sums = {n: torch.empty(t.shape, dtype=t.dtype) for n, t in averages.state().items()}
    trained.state.restore(kept)
    averages.restore(sums, gpu())
    with watch:
        averages.add(trained.step(1, made))
    images = made(0, 0).normal.to(gpu())
    portions = Portions(len(images), "images")
    trained.state.painting.paint_class(images, 1, Randomness(), portions=portions)  # type: ignore[arg-type]


def sums_on_the_cpu(self: Averages, tensors: dict[str, Tensor], device: torch.device) -> None:
    self._sums = {name.removeprefix("averages."): pair for name, pair in tensors.items()}


def read_back(image: Tensor, cycled: Tensor) -> Tensor:
    loss = (image - cycled).abs().mean()
    return loss if loss.isfinite() else torch.zeros_like(loss)


def picked(image: Tensor, cycled: Tensor) -> Tensor:
    return (image - cycled)[image > 0].abs().mean()


# Faults as they were, or might be, made: what this is worth is shown by its finding them.
FAULTS: dict[str, Callable[[], Any]] = {
    "none": nullcontext,
    "sums": lambda: mock.patch.object(Averages, "restore", sums_on_the_cpu),
    "pageable": lambda: mock.patch.object(devices, "upload", lambda t, device: t.to(device)),
    "bool": lambda: mock.patch.object(losses, "reconstruction", read_back),
    "nonzero": lambda: mock.patch.object(losses, "reconstruction", picked),
}


def main(preset: str, fault: str = "none") -> None:
    # Of its form, and no more of it than shows it.
    kind = type(load_config(preset, {}).method)
    few = {"n_critic": CRITIC_STEPS, "perceptual": 0}  # that is of a network with contents
    own = {name: value for name, value in few.items() if name in kind.model_fields}
    config = load_config(preset, {"training": {"batch_size": 4}, "method": own})
    watch = Watch()
    task = Task(CHANNELS, len(CLASSES), config.data.image_size)
    method = make_method(config.method, task)
    with fake_gpu(watch, method), FAULTS[fault]():
        try:
            train(config, method, watch)
        except RuntimeError as error:  # what these tensors cannot do, after it has been found
            watch.found.append(f"{type(error).__name__}: {error}".partition("\n")[0])
    print("\n".join(dict.fromkeys(watch.found)) or "nothing found")
    print(f"{watch.operations} operations, {watch.uploads} uploads")


if __name__ == "__main__":
    main(*sys.argv[1:])
