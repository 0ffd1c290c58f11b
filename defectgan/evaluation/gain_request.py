"""The whole of ``evaluate gain``: from what is asked for to the answer in a folder."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch

from defectgan.devices import pick_device
from defectgan.errors import SettingError
from defectgan.evaluation.bench import Bench, refuse_damaged, seen_size
from defectgan.evaluation.classifier import SMALL, Recipe
from defectgan.evaluation.gain import GainPlan
from defectgan.evaluation.gain_report import require_packages
from defectgan.evaluation.gain_run import RATIOS, Answer, AnyPlan, answer, ready, usable_nets, work
from defectgan.evaluation.gan_training import of_seeds, train_generator
from defectgan.evaluation.leak import refuse_leaks
from defectgan.evaluation.ledger import claim
from defectgan.evaluation.painting import load_painters, refuse_unproved
from defectgan.evaluation.real import RealSplit, SplitPlan, split_real
from defectgan.evaluation.segmentation import SegmentationRecipe
from defectgan.evaluation.segmentation_gain import SegmentationPlan
from defectgan.generation import CANDIDATES
from defectgan.listener import SILENT, Listener
from defectgan.locks import held
from defectgan.methods.config import Config, load_config, parse_config
from defectgan.model.file import Model, read_info, weights_file
from defectgan.runs import find_model, unused
from defectgan.settings.load import default_preset
from defectgan.training import Unwatched, Watcher

# Generators to train where none are given: they differ by more than classifiers do.
GENERATORS = 3
# With so many generators, fewer trainings of each arm do; the report of a set shall take no more
# than half an hour of two cores.
MANY_GENERATORS, SEEDS_OF_MANY, SEEDS = 3, 2, 3
# Optimizer steps of every classifier.
STEPS = 300

# Given how many steps a generator trains for, gives who watches it, and who says when to stop.
Watching = Callable[[int], AbstractContextManager[tuple[Watcher, Callable[[], bool]]]]


def unwatched(steps: int) -> AbstractContextManager[tuple[Watcher, Callable[[], bool]]]:
    """Nobody watches, and nobody stops it."""
    return nullcontext((Unwatched(), lambda: False))


@dataclass(frozen=True, kw_only=True)
class GainRequest:
    """What is asked of a test; None stands for what is usual.

    data          real images in any layout that a training reads
    split         how they are divided
    classes, normal_class, group_regex  how they are read
    models        generators: run folders or weights; without any, ``gan_seeds`` of them are trained
                  for ``gan_steps`` steps by the preset or file ``gan_config``
    trust_model   take weights without a run
    arms          by name; ``ratios`` images for each real one, of which validation images choose;
                  ``candidates`` as of ``generate``
    segmentation  segmenters on painted masks instead of classifiers
    nets          the classifiers, that begin with the file ``net_weights``; they see ``image_size``
                  and learn for ``steps`` on batches of ``batch_size``, each of ``seeds`` times
    seed          draws what is added
    defect_rate   share of parts that are defective, for escapes of a thousand
    out           folder for everything
    """

    data: Path
    split: SplitPlan = field(default_factory=SplitPlan)
    classes: tuple[str, ...] | None = None
    normal_class: str | None = None
    group_regex: str | None = None
    models: tuple[Path, ...] = ()
    trust_model: bool = False
    gan_config: str | None = None
    gan_steps: int | None = None
    gan_seeds: int | None = None
    arms: tuple[str, ...] | None = None
    ratios: tuple[float, ...] | None = None
    candidates: int | None = None
    segmentation: bool = False
    nets: tuple[str, ...] | None = None
    net_weights: Path | None = None
    image_size: str = "64"
    steps: int = STEPS
    batch_size: int | None = None
    seeds: int | None = None
    seed: int = 0
    defect_rate: float = 0.01
    out: Path | None = None
    device: str = "auto"

    @cached_property
    def place(self) -> torch.device:
        """Where it computes."""
        return pick_device(self.device)

    @property
    def generators(self) -> int:
        """How many generators are trained."""
        return self.gan_seeds or GENERATORS

    @property
    def trainings(self) -> int:
        """How often each arm is trained, with each generator."""
        many = (len(self.models) or self.generators) >= MANY_GENERATORS
        return self.seeds or (SEEDS_OF_MANY if many else SEEDS)

    @cached_property
    def plan(self) -> AnyPlan:
        """What is compared.

        Raises:
            SettingError: if a name or a size is unknown, or segmenters are to choose.
        """
        return self._segmenters() if self.segmentation else self._classifiers()

    def _classifiers(self) -> GainPlan:
        ratios = self.ratios or RATIOS
        batch = self.batch_size or Recipe.batch_size
        return GainPlan(
            seeds=self.trainings,
            seed=self.seed,
            image_size=seen_size(self.image_size),
            ratio=ratios[0] if len(ratios) == 1 else 1.0,
            ratios=ratios,
            asked=self.arms,
            nets=usable_nets(self.nets, other="resnet18" if self.place.type == "cuda" else SMALL),
            recipe=Recipe(steps=self.steps, batch_size=batch, weights=self.net_weights),
        )

    def _segmenters(self) -> SegmentationPlan:
        ratios = self.ratios or (1.0,)
        if len(ratios) > 1:
            raise SettingError(
                "several ratios: nothing is chosen for segmenters, name one number",
                mend=("ratio", "1"),
            )
        batch = self.batch_size or SegmentationRecipe.batch_size
        return SegmentationPlan(
            seeds=self.trainings,
            seed=self.seed,
            image_size=seen_size(self.image_size),
            ratio=ratios[0],
            recipe=SegmentationRecipe(steps=self.steps, batch_size=batch),
        )

    def generator_config(self, models: Sequence[Path]) -> Config:
        """The settings of the first model that is given, or of those to train, but for what is
        asked for of the data.

        Raises:
            SettingError: if a setting cannot be.
            ModelError: if the model does not know a class.
        """
        data: dict[str, Any] = {
            "classes": self.classes,
            "normal_class": self.normal_class,
            "group_regex": self.group_regex,
        }
        if not models:
            preset = self.gan_config or default_preset(self.place.type)
            return load_config(preset, {"data": data, "training": {"steps": self.gan_steps}})
        info = read_info(weights_file(models[0]))
        for name in self.classes or ():
            info.label_of(name)
        form = info.form
        seen_and_read = form.view.model_dump() | form.reading.model_dump()
        known = seen_and_read | {"classes": info.classes[1:]}
        given = known | {name: value for name, value in data.items() if value is not None}
        tree = {"data": given, "method": form.method.model_dump()}
        return parse_config(tree, origin=str(models[0]))


class GainResult(NamedTuple):
    """The folder of a test and its answer, None where it was asked to stop before there was one."""

    folder: Path
    answer: Answer | None


def evaluate_gain(
    request: GainRequest,
    *,
    listener: Listener = SILENT,
    watching: Watching = unwatched,
) -> GainResult:
    """Train classifiers, or segmenters, with and without generated images, and test them on real
    ones. A test that was cut short goes on when it is called again with the same folder.

    Args:
        request: what is asked of it.
        listener: who is told how it goes.
        watching: watches the training of each generator, and may stop it.

    Raises:
        SettingError: if a setting cannot be, or a package is not installed.
        DataError: if there are too few images, or the folder holds another test.
        ModelError: if a model has seen images to test on, or nobody can tell.
        TrainingError: if a training cannot go on.
    """
    require_packages()
    trust, given = request.trust_model, [find_model(model) for model in request.models]
    config = request.generator_config(given)
    real = split_real(request.data, config.data, request.split, needed=request.plan.splits)
    _describe(real, listener)
    plan = ready(request.plan, real)
    paths = given if plan.paints else []
    notes = [note for model in paths for note in refuse_leaks(model, real, trust=trust)]
    models = load_painters(paths, device=request.place)
    for model in models:
        refuse_unproved(model, request.candidates)
    folder = request.out or _default_folder()
    claim(folder, real)
    with held(folder):
        listener.say(f"everything goes to {folder}")
        if plan.paints and not paths:
            refuse_damaged(plan, real)
            trained = _train(request, real, config, folder, listener, watching)
            if trained is None:
                return GainResult(folder, None)
            notes = [note for model in trained for note in refuse_leaks(model, real)]
            models = load_painters(trained, device=request.place)
        for note in notes:
            listener.say(note)
        return GainResult(folder, _answer(request, plan, real, models, folder, notes, listener))


def _default_folder() -> Path:
    return unused(Path("evaluation") / f"{time.strftime('%Y%m%d-%H%M%S')}-gain")


def _answer(
    request: GainRequest,
    plan: AnyPlan,
    real: RealSplit,
    models: Sequence[Model],
    folder: Path,
    notes: Sequence[str],
    listener: Listener,
) -> Answer:
    asked = request.candidates
    plan = plan.choosing((asked,) if asked else (1, CANDIDATES))
    with listener.counting("steps of networks", work(plan, real, models)) as done:
        test = Bench(real, models, folder, request.place, done)
        return answer(plan, test, notes=notes, defect_rate=request.defect_rate)


def _describe(real: RealSplit, listener: Listener) -> None:
    for name, counts in real.counts().items():
        listener.say(f"{name}: " + ", ".join(f"{c} {n}" for c, n in counts.items()))
    if real.left_out:
        listener.say(f"left out: {len(real.left_out)} training images")
    for note in real.notes:
        listener.warn(note)
    for _, reason in real.index.skipped:
        listener.warn(f"left out: {reason}")


def _train(
    request: GainRequest,
    real: RealSplit,
    config: Config,
    folder: Path,
    listener: Listener,
    watching: Watching,
) -> list[Path] | None:
    """The runs of generators that have learned from the training images, all steps done; None where
    one was stopped.
    """
    runs, place = [], request.place
    for number, settings in enumerate(of_seeds(config, request.generators), start=1):
        seed = settings.training.seed
        listener.say(f"generator {number} of {request.generators}, seed {seed}")
        with watching(settings.training.steps) as (watcher, stop):
            run = train_generator(real, settings, folder, device=place, watcher=watcher, stop=stop)
        if run is None:
            return None
        runs.append(run)
    return runs
