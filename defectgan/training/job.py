"""A training as it was asked for: new, or going on with a run."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from defectgan.data.index import Index, read_split, write_split
from defectgan.data.joint import index_sets
from defectgan.data.masks import outline
from defectgan.data.store import MIB
from defectgan.errors import ModelError, SettingError
from defectgan.files import append_json_lines, write_atomically
from defectgan.images import save_png, tile, to_bytes
from defectgan.methods.base import Method, MethodShape
from defectgan.methods.config import Config, dump_config, load_config, parse_config
from defectgan.methods.registry import METHODS, make_method, method_named
from defectgan.model.file import first_weights, read_info
from defectgan.model.info import ModelInfo
from defectgan.runs import RunFolder, new_run
from defectgan.settings.load import names_setting
from defectgan.training.batches import make_batches
from defectgan.training.distributed import ALONE, World
from defectgan.training.loop import Training
from defectgan.training.warmup import longest
from defectgan.training.watch import Outcome, Watcher
from defectgan.words import counted

Overrides = Mapping[str, Mapping[str, Any]]

PREVIEW_COLUMNS = 8
# The colour of the line round a true mask.
OUTLINE = (255, 0, 0)
# What a resumed run may do otherwise than it began; all else would make it another training.
RESUMABLE = frozenset({"steps", "precision", "save_every", "save_minutes"})


@dataclass(frozen=True)
class Job:
    """Settings and images, and the run to go on with, if any."""

    config: Config
    index: Index
    resumed: RunFolder | None = None

    def __post_init__(self) -> None:
        """What the method cannot learn from is refused.

        Raises:
            SettingError: if it needs pairs and there are none or the reverse, or if it cannot learn
                so many classes.
        """
        name, defects = self.config.method.name, self.index.classes[1:]
        _pairs_serve(name, paired=self.index.paired)
        most = method_named(name).most_defects
        if most is not None and len(defects) > most:
            raise SettingError(
                f"{name} learns {counted(most, 'kind')} of defect, and there are {len(defects)}, "
                f"{', '.join(defects)}: name the one to learn",
                mend=("classes", defects[0]),
            )

    def method(self) -> Method:
        """The method, with all its settings."""
        task = ModelInfo.of(self.config, self.index).task
        return make_method(self.config.method, task)

    def warmup_steps(self) -> int:
        """How many steps the classifier trains alone before all others, at most."""
        warm_up = self.method().warm_up()
        return longest(warm_up, self.config.training.steps) if warm_up else 0

    def learns_truths(self) -> bool:
        """Whether it learns from true masks."""
        return self.method().wants_truths

    def parameters(self) -> dict[str, int]:
        """How many parameters each network has."""
        with torch.device("meta"):
            networks = self.method().networks()
        return {name: sum(p.numel() for p in net.parameters()) for name, net in networks.items()}

    def image_cache_mib(self) -> float:
        """How much memory the decoded images will take, in MiB."""
        return round(make_batches(self.config, self.index).images.store.room / MIB, 1)

    def preview(self, path: Path) -> None:
        """Draw what the networks will see, after augmentation: a row of normal images, and one of
        each class of defects with their true masks outlined; as PNG.
        """
        batches = make_batches(self.config, self.index, truths=True)
        rows: list[list[NDArray[np.uint8]]] = [[] for _ in self.index.classes]
        step = 0
        while min(map(len, rows)) < PREVIEW_COLUMNS:
            batch = batches(step, 0)
            rows[0] += [to_bytes(image) for image in batch.normal]
            seen = zip(batch.defect, batch.label, batch.truth, strict=True)
            for image, label, truth in seen:
                rows[int(label.argmax())].append(_outlined(to_bytes(image), truth))
            step += 1
        save_png(path, tile([c for r in rows for c in r[:PREVIEW_COLUMNS]], PREVIEW_COLUMNS))

    def begin(self, runs: Path, name: str) -> RunFolder:
        """The folder of the run to go on with, or a new one below ``runs``, with all in it that
        another process needs to take part, or a later one to go on.
        """
        folder = self.resumed or new_run(runs, name)
        write_atomically(folder.config, dump_config(self.config).encode())
        write_split(folder.split, self.index)
        rows = [{"file": str(file), "reason": reason} for file, reason in self.index.skipped]
        if rows:
            append_json_lines(folder.skipped, rows)
        return folder

    def run(
        self,
        folder: RunFolder,
        *,
        device: torch.device,
        watcher: Watcher,
        stop: Callable[[], bool],
        world: World = ALONE,
    ) -> Outcome:
        """Train in a run folder, from where it stopped, until the last step or until ``stop`` says
        so.
        """
        training = Training(
            self.config, self.index, folder, device=device, watcher=watcher, world=world
        )
        training.resume()
        return training.go(stop)


def _outlined(image: NDArray[np.uint8], truth: torch.Tensor) -> NDArray[np.uint8]:
    """An image [H, W, C] in colour, its true mask [1, H, W] tinted, with a line round it; neither
    where the mask is unknown, NaN.
    """
    colour = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image.copy()
    region = truth[0].numpy() > 0.5
    colour[region] = (3 * colour[region] + np.array(OUTLINE)) // 4
    colour[outline(region) > 0] = OUTLINE
    return colour


def new_job(data: Sequence[Path], config: str | Path, overrides: Overrides) -> Job:
    """A new training on a data folder, or on several jointly, by a preset or a YAML file with
    overrides.

    Where it begins with the weights of another training, its networks are of that training's form.

    Raises:
        SettingError: if a setting cannot be, or the method cannot learn from several folders.
        DataError: if a folder cannot be learned from.
        ModelError: if there are no weights to begin with.
    """
    settings = load_config(config, overrides)
    if len(data) > 1 and not method_named(settings.method.name).joint:
        able = [name for name in METHODS if method_named(name).joint]
        raise SettingError(
            f"the method {settings.method.name} learns from one data set, and {len(data)} are "
            f"named: train one model for each, or take {' or '.join(able)}, whose mask vector "
            "says which classes the labels of a set tell of"
        )
    if settings.training.start is not None:
        earlier = read_info(first_weights(settings.training.start)).form
        own = overrides.get("method", {})
        asked = {
            k
            for k in type(earlier.method).model_fields
            if k in own or names_setting(config, "method", k)
        }
        method = _shaped(settings.method, earlier.method, asked, config)
        settings = parse_config({**settings.model_dump(), "method": method}, origin=str(config))
    _pairs_serve(settings.method.name, paired=settings.data.pairs is not None)
    return Job(settings, index_sets(data, settings.data, seed=settings.training.seed))


def _pairs_serve(name: str, *, paired: bool) -> None:
    """Whether a method learns from pairs, and there are pairs to learn from, or neither.

    Raises:
        SettingError: if it is the one or the other alone.
    """
    needed = method_named(name).paired
    if needed and not paired:
        raise SettingError(
            f"{name} needs paired data: with each image of a defect the same one without it, or "
            "its mask, called alike in another folder; name that one (data.pairs)",
            mend=("pairs", "FOLDER"),
        )
    if paired and not needed:
        raise SettingError(
            f"{name} does not learn from pairs: leave data.pairs out, or train a method that does, "
            "such as pix2pix"
        )


def _shaped(
    settings: MethodShape, earlier: MethodShape, asked: Collection[str], config: str | Path
) -> dict[str, Any]:
    """The settings of a method with the shape of an earlier training's.

    Raises:
        SettingError: if that was of another method, or has not what was ``asked`` for by name.
    """
    if settings.name != earlier.name:
        raise SettingError(
            f"training.init_from names weights of the method {earlier.name}, and {config} trains "
            f"{settings.name}: begin with weights of the same method"
        )
    shape = earlier.model_dump()
    for key in sorted(asked):
        if (wanted := getattr(settings, key)) != shape[key]:
            raise SettingError(
                f"method.{key} is {wanted} in {config}, and {shape[key]} in the weights that "
                "training.init_from names: leave it out, or begin at random "
                "(training.init_from: none)"
            )
    return settings.model_dump() | shape


def shared_batch(config: str | Path, overrides: Overrides, processes: int) -> int | None:
    """The batch size to take where that of a preset cannot be shared evenly by so many processes;
    None where it can.

    Raises:
        SettingError: if it cannot, and was asked for by name.
    """
    world = World(size=processes)
    size = load_config(config, overrides).training.batch_size
    asked = overrides.get("training", {}).get("batch_size") is not None
    if asked or names_setting(config, "training", "batch_size"):
        world.part(size // 2)
    shareable = world.shareable(size)
    return None if shareable == size else shareable


def resumed_job(run: Path, overrides: Overrides, *, data: Sequence[Path] = ()) -> Job:
    """Go on with a run, with more steps or another precision if asked for.

    The learning rate falls linearly to the last step: with more steps it is higher from here on
    than it was before.

    Args:
        run: the run folder.
        overrides: settings given anew.
        data: where the images are now, if they have moved, each data set in its turn.

    Raises:
        ModelError: if it is no run folder.
        SettingError: if a setting is given that would make it another training.
    """
    folder = RunFolder(run)
    if not folder.config.is_file():
        raise ModelError(f"{run} is not a run folder: it has no {folder.config.name}")
    began, config = load_config(folder.config, {}), load_config(folder.config, overrides)
    for section, values in overrides.items():
        for key in values:
            before, now = (getattr(getattr(c, section), key) for c in (began, config))
            if now != before and key not in RESUMABLE:
                raise SettingError(
                    f"{section}.{key} is {before} in {run} and cannot become {now}: a resumed run "
                    f"may change {', '.join(sorted(RESUMABLE))}; train anew for the rest"
                )
    done = read_info(folder.state).step if folder.state.is_file() else 0
    if config.training.steps < done:
        raise SettingError(
            f"{run} has done {done} steps already: name more than {config.training.steps}"
        )
    return Job(config, read_split(folder.split, roots=data), folder)


def shared_job(folder: RunFolder, *, data: Sequence[Path] = ()) -> Job:
    """The job that the first process has begun in a folder, for another one to take part."""
    return Job(load_config(folder.config, {}), read_split(folder.split, roots=data), folder)
