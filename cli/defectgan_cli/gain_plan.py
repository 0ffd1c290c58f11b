"""What `evaluate gain` is asked for, as the library takes it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from defectgan_cli import options

if TYPE_CHECKING:
    from defectgan.evaluation.gain import GainPlan
    from defectgan.evaluation.segmentation_gain import SegmentationPlan
    from defectgan.methods.config import Config

AUTO = "auto"
# Images added for a real one.
LEAST, MOST = 0.01, 100


class Network(NamedTuple):
    """The classifiers that were asked for."""

    names: list[str] | None
    weights: Path | None
    steps: int
    batch_size: int | None


def refuse_unused(
    paints: bool,
    models: list[Path] | None,
    candidates: int | None,
    *,
    trust: bool,
    **of_generator: int | None,
) -> None:
    """Refuse what is said of a generator that is not there."""
    if not paints:
        why = "is for generated images, and no arm here learns from any: leave it out"
        options.refuse(why, **of_generator, candidates=candidates, trust_model=trust)
    elif not models:
        options.refuse(
            "is for a model that you have: name it, or leave this out", trust_model=trust
        )


def classifiers(
    seeds: int,
    seed: int,
    image_size: str,
    ratio: list[str] | None,
    arms: list[str] | None,
    network: Network,
    *,
    on_gpu: bool,
) -> "GainPlan":
    from defectgan.evaluation.bench import seen_size
    from defectgan.evaluation.classifier import SMALL, Recipe
    from defectgan.evaluation.gain import GainPlan
    from defectgan.evaluation.gain_run import RATIOS, usable_nets

    ratios = _numbers(ratio, RATIOS)
    recipe = Recipe(
        steps=network.steps,
        batch_size=network.batch_size or Recipe.batch_size,
        weights=network.weights,
    )
    return GainPlan(
        seeds=seeds,
        seed=seed,
        image_size=seen_size(image_size),
        ratio=ratios[0] if len(ratios) == 1 else 1.0,
        ratios=ratios,
        asked=tuple(arms) if arms else None,
        nets=usable_nets(network.names, other="resnet18" if on_gpu else SMALL),
        recipe=recipe,
    )


def segmenters(
    seeds: int,
    seed: int,
    image_size: str,
    ratio: list[str] | None,
    steps: int,
    batch_size: int | None,
) -> "SegmentationPlan":
    from defectgan.errors import SettingError
    from defectgan.evaluation.bench import seen_size
    from defectgan.evaluation.segmentation import SegmentationRecipe
    from defectgan.evaluation.segmentation_gain import SegmentationPlan

    ratios = _numbers(ratio, (1.0,))
    if len(ratios) > 1:
        raise SettingError("--ratio: nothing is chosen for segmenters, name one number")
    recipe = SegmentationRecipe(steps=steps, batch_size=batch_size or SegmentationRecipe.batch_size)
    return SegmentationPlan(
        seeds=seeds, seed=seed, image_size=seen_size(image_size), ratio=ratios[0], recipe=recipe
    )


def _numbers(texts: list[str] | None, auto: tuple[float, ...]) -> tuple[float, ...]:
    """Ratios as they are written, ascending."""
    from defectgan.errors import SettingError

    if texts in (None, [AUTO]):
        return auto
    try:
        numbers = sorted({float(text) for text in texts or ()})
    except ValueError:
        numbers = []
    if not numbers or not LEAST <= numbers[0] <= numbers[-1] <= MOST:
        raise SettingError(
            f"--ratio {' '.join(texts or ())}: expected {AUTO}, or numbers from {LEAST} to {MOST}"
        )
    return tuple(numbers)


def generator_config(
    models: list[Path],
    gan_config: str | None,
    gan_steps: int | None,
    gan_seeds: int | None,
    data: dict[str, Any],
    *,
    device: str,
) -> "Config":
    """The settings of the first model that is given, or of those to train, but for what is asked
    for of the data.
    """
    from defectgan.methods.config import load_config, parse_config
    from defectgan.model.file import read_info, weights_file
    from defectgan.settings.load import default_preset

    if not models:
        preset = gan_config or default_preset(device)
        return load_config(preset, {"data": data, "training": {"steps": gan_steps}})
    options.refuse(
        f"is of no use: {models[0]} is trained already",
        gan_config=gan_config,
        gan_steps=gan_steps,
        gan_seeds=gan_seeds,
    )
    info = read_info(weights_file(models[0]))
    for name in data["classes"] or ():
        info.label_of(name)
    form = info.form
    seen_and_read = form.view.model_dump() | form.reading.model_dump()
    known = seen_and_read | {"classes": info.classes[1:]}
    given = known | {name: value for name, value in data.items() if value is not None}
    tree = {"data": given, "method": form.method.model_dump()}
    return parse_config(tree, origin=str(models[0]))
