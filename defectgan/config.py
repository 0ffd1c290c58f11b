"""Every setting, validated once.

A setting's unit and meaning stand in its description. Presets in ``configs/`` hold overrides only;
what they leave out has the value below, which is the published recipe, or that of the preset that
they begin with.
"""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from defectgan.errors import SettingError
from defectgan.words import nearest

# In a file of settings: the preset that it begins with.
BASE = "preset"
# The folder of the presets.
PRESETS = "configs"
# Where a setting came from that no file holds.
OVERRIDES = "the command line or the environment"

Precision = Literal["auto", "fp32", "bf16"]
JudgedBy = Literal["auto", "imagenet", "classifier"]

# Steps of the classifier's warm-up for each step that follows, at most: one takes about a
# seventeenth of a training step's time, so that the warm-up adds a quarter to a short training.
LEAD_SHARE = 4


def _size(value: Any) -> Any:
    """Height and width from one number for both, or from "height x width"."""
    if isinstance(value, str):
        value = [part.strip() for part in value.lower().split("x")]
        if len(value) == 1:
            value *= 2
    if isinstance(value, int) and not isinstance(value, bool):
        value = value, value
    if not isinstance(value, list | tuple) or len(value) != 2 or not all(map(_is_whole, value)):
        raise ValueError("expected one number of pixels for both sides, or height x width")
    return value


def _is_whole(value: Any) -> bool:
    """Whether a value is a whole number, or the text of one."""
    return str(value).isdecimal() and not isinstance(value, bool)


Side = Annotated[int, Field(ge=16, le=1024, multiple_of=16)]
Decay = Annotated[float, Field(ge=0, lt=1)]
# The weights of terms that a critic on fixed features does not have.
WASSERSTEIN = ("adv", "gp", "cls_s")
# Channels of the critic's last layer, at most: four times those of the published form.
WIDEST = 8192


class Settings(BaseModel):
    """Frozen; an unknown key is an error, and so is a number that is not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ViewConfig(Settings):
    """How the networks see an image."""

    image_size: Annotated[tuple[Side, Side], BeforeValidator(_size)] = Field(
        (128, 128), description="height and width that the networks see; one number for both"
    )
    fit: Literal["resize", "letterbox", "crop"] = Field(
        "resize",
        description="how an image becomes that size: all of it stretched, all of it in its "
        "proportions, or windows at a fixed scale, round the defect where it is known",
    )
    crop_size: int | None = Field(
        None,
        ge=16,
        description="image pixels on the shorter side of such a window; None: as many as the "
        "networks see, the image's own scale",
    )

    @model_validator(mode="after")
    def _crops_only_where_asked(self) -> Self:
        if self.crop_size is not None and self.fit != "crop":
            raise ValueError(f"crop_size {self.crop_size} is of use with the fit crop alone")
        return self


class ReadingConfig(Settings):
    """How a folder of images of this kind is read."""

    normal_class: str | None = Field(None, description="folder of the good images; None: by name")
    group_regex: str | None = Field(
        None, description="finds in a file's name which piece it shows; pieces are never split"
    )

    @field_validator("group_regex")
    @classmethod
    def _is_an_expression(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"it is no regular expression: {error}") from error
        return value

    levels: Literal["full", "minmax", "percentile"] = Field(
        "full",
        description="what is black and white to the networks: the whole range of the files' depth, "
        "or the darkest and brightest values of the good images, all or all but 0.1 % each",
    )


class DataConfig(ReadingConfig, ViewConfig):
    """Which images a training learns from, how they are read, seen and kept."""

    classes: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        None, description="defect classes in order; None: all"
    )
    layout: str | None = Field(None, description="how the images are kept; None: recognised")
    val_fraction: float = Field(
        0.0, ge=0, lt=1, description="share of each class kept for validation"
    )
    holdout: float = Field(
        0.0, ge=0, lt=1, description="share of each class without test images kept for testing"
    )
    mask_values: Literal["auto", "plain", "any", "alpha", "inverted"] = Field(
        "auto",
        description="what means defect in a mask file: above half of its largest value (plain), "
        "all but the background's value or colour (any), what is opaque (alpha), what is not above "
        "half (inverted); auto: by how the masks look, and what was guessed is said",
    )
    normal_from_background: bool = Field(
        False,
        description="windows from beside the defects are good images too, with the fit crop",
    )
    strict: bool = Field(False, description="a file that cannot be used is an error")
    cache: Literal["auto", "ram", "disk", "none"] = Field(
        "auto",
        description="where decoded images are kept; auto: in memory if they fit, else in the run "
        "folder if they fit there, else in memory as far as it goes",
    )
    cache_mib: int = Field(
        4096, ge=0, description="of memory for decoded images, at most, a process"
    )
    workers: int | None = Field(
        None, ge=0, le=256, description="processes that read ahead; None: as many as serve"
    )


class PoseConfig(Settings):
    """In which poses the networks see an image."""

    flip: bool = Field(True, description="mirror at random")
    rotate: bool = Field(True, description="turn by multiples of 90 degrees at random")


class AugmentConfig(PoseConfig):
    """Drawn alike for normal and defect images, so that no class can be told by its exposure or
    pose.
    """

    contrast: float = Field(0.0, ge=0, lt=1, description="factor drawn from 1 +- this")
    brightness: float = Field(0.0, ge=0, lt=1, description="shift drawn from +- this, range 1")
    gamma: float = Field(0.0, ge=0, le=2, description="exponent between 1 / (1 + this), 1 + this")
    adaptive: bool = Field(
        False,
        description="also augment what the critic sees, painted images too, the more the surer it "
        "is of the classes of the real ones: for few images",
    )


class GeneratorConfig(Settings):
    width: int = Field(
        64, ge=4, le=1024, description="channels at full resolution; 4 x at the bottleneck"
    )
    residual_blocks: int = Field(6, ge=0, le=256)
    control: Literal["spade", "concatenated"] = Field(
        "spade", description="how the class is told: by SPADE, or beside the image as in StarGAN"
    )
    layered: bool = Field(
        True, description="paint a layer over the image; otherwise all of it anew, as StarGAN does"
    )
    spade_hidden: int = Field(128, ge=4, le=4096, description="channels of the SPADE branch")
    skips: bool = Field(
        False,
        description="the decoder sees the encoder's maps of its size: sharp masks of thin defects",
    )
    head_sees_image: bool = Field(
        False,
        description="the last convolution sees the image too, whose colour instance normalization "
        "has taken away",
    )
    spade_residual: bool = Field(
        False,
        description="the residual blocks too are told the class and given noise: the shape of a "
        "defect is made there, the decoder alone has one convolution a size for it",
    )
    noise_scale: float | None = Field(
        0.0, ge=0, description="of the adaptive noise, at the start; None: no noise"
    )
    residual_foreground: bool = Field(
        False, description="the foreground is the input plus what is learned, at first the input"
    )


def _changed(settings: Settings, besides: Collection[str] = ()) -> list[str]:
    """The names of those that differ from their defaults."""
    defaults = type(settings)()
    return [
        name
        for name in type(settings).model_fields
        if name not in besides and getattr(settings, name) != getattr(defaults, name)
    ]


class CriticConfig(Settings):
    features: Literal["lite0"] | None = Field(
        None,
        description="look through this fixed network (of the extra 'features') instead of one that "
        "learns: heads on its maps tell real from painted images, class by class",
    )
    width: int = Field(
        64, ge=4, le=1024, description="channels of the first layer, doubled by each further"
    )
    layers: int = Field(6, ge=2, le=8, description="each halves the size")
    class_score: bool = Field(False, description="one score for each class instead of one for all")
    class_tower: bool = Field(False, description="the classifier is a network of its own")
    tower_width: int = Field(
        16, ge=8, le=1024, multiple_of=8, description="channels of its first layer"
    )

    @model_validator(mode="after")
    def _is_one_or_the_other(self) -> Self:
        if self.features and (idle := _changed(self, besides=("features",))):
            raise ValueError(
                f"{', '.join(idle)} shape a critic that learns to see, and this one looks through "
                f"{self.features}: leave them out, or set features to null"
            )
        return self

    @model_validator(mode="after")
    def _layers_fit_into_memory(self) -> Self:
        if (last := self.width << (self.layers - 1)) > WIDEST:
            raise ValueError(
                f"{self.layers} layers from width {self.width} on end at {last} channels, at most "
                f"{WIDEST} can be: take fewer layers or a smaller width"
            )
        return self


class LossWeights(Settings):
    """The weights of the terms, in the symbols of the paper; ``adv`` multiplies the generator's
    -E[D(fake)].
    """

    adv: float = Field(1.0, ge=0)
    gp: float = Field(10.0, ge=0)
    cls_r: float = Field(2.0, ge=0)
    cls_f: float = Field(5.0, ge=0)
    cls_s: float = Field(
        0.0, ge=0, description="the critic's: a fake is of the class that it was painted from"
    )
    rec: float = Field(5.0, ge=0)
    sd_cyc: float = Field(5.0, ge=0)
    sd_con: float = Field(1.0, ge=0)
    cycle_defects: bool = Field(
        True,
        description="a restored defect must come back as the same defect: then a restoration keeps "
        "a trace of it, if only a larger defect",
    )
    sparsity_by_class: bool = Field(
        False,
        description="charge an image for its mask in proportion to the probability that the critic "
        "gives to the class it was painted as",
    )
    mask_supervision: float = Field(
        0.0, ge=0, description="restoration masks are the true ones, where images have any"
    )
    sparsity_warmup: int = Field(0, ge=0, description="steps over which sd_con rises from 0")


class OptimConfig(Settings):
    lr: float = Field(2e-4, gt=0, description="Adam's learning rate, falling linearly")
    tower_lr: float | None = Field(None, gt=0, description="the class tower's; None: lr")
    final_lr: float = Field(1e-6, ge=0, description="learning rate at the last step")
    betas: tuple[Decay, Decay] = Field((0.5, 0.999), description="Adam's decays, a step")
    ema: float = Field(0.999, ge=0, lt=1, description="decay of the generator's average, a step")

    @model_validator(mode="after")
    def _rates_fall(self) -> Self:
        for name, lr in (("lr", self.lr), ("tower_lr", self.tower_lr)):
            if lr is not None and self.final_lr > lr:
                raise ValueError(f"final_lr {self.final_lr} is larger than {name} {lr}")
        return self


class TrainingConfig(Settings):
    steps: int = Field(100_000, ge=1, description="generator steps")
    batch_size: int = Field(4, ge=2, multiple_of=2, description="images; half normal, half defects")
    n_critic: int = Field(5, ge=1, description="critic steps for each generator step")
    lead_steps: int = Field(
        0,
        ge=0,
        description="steps that the classifier trains alone before all others, at most; never more "
        f"than {LEAD_SHARE} for each of ``steps``",
    )
    lead_until: float = Field(
        0.6, gt=0, le=1, description="share of chance's cross-entropy at which that lead ends"
    )
    init_from: str | None = Field(
        None, description="run folder or weights to begin with; None: at random"
    )
    max_bad_steps: int = Field(
        50, ge=0, description="steps with a loss or gradient that is not finite before it gives up"
    )
    seed: int = Field(0, ge=0, lt=2**31)
    precision: Precision = "auto"
    log_every: int = Field(50, ge=1, description="steps between lines of stats.jsonl")
    sample_every: int = Field(250, ge=1, description="steps between sample sheets")
    eval_every: int = Field(
        250, ge=1, description="steps between judgements of the model, made with the next log line"
    )
    judge: JudgedBy = Field(
        "auto",
        description="the features by which a model is judged: a fixed network's (imagenet, of the "
        "extra 'features'), or the classifier's as it was when it had trained alone; auto: the "
        "former where they are installed and the model was not trained against them",
    )
    save_minutes: float = Field(
        5.0, gt=0, description="minutes between checkpoints; there is one at the end in any case"
    )
    save_every: int | None = Field(
        None, ge=1, description="steps between checkpoints instead; None: by ``save_minutes``"
    )

    @property
    def longest_lead(self) -> int:
        """Steps that the classifier trains alone before all others, at most."""
        return min(self.lead_steps, LEAD_SHARE * self.steps)


class Config(Settings):
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    generator: GeneratorConfig = GeneratorConfig()
    critic: CriticConfig = CriticConfig()
    loss: LossWeights = LossWeights()
    optim: OptimConfig = OptimConfig()
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="after")
    def _critic_fits(self) -> Self:
        if self.critic.features:
            if idle := [f"loss.{n}" for n in _changed(self.loss) if n in WASSERSTEIN]:
                raise ValueError(
                    f"{', '.join(idle)} weigh terms that there are none of with critic.features: "
                    "leave them out, or set critic.features to null"
                )
            return self
        size, layers = min(self.data.image_size), self.critic.layers
        if size >> layers < 1:
            raise ValueError(f"{layers} critic layers leave nothing of {size} px: take fewer")
        return self


class Form(Settings):
    """Of a trained model, all that its weights are of no use without: the settings that build its
    networks, and those by which they see an image as they have learned to.

    This is what a weights file is read by; the rest of a training's settings it holds as
    information alone. See docs/file-formats.md before changing it.
    """

    generator: GeneratorConfig = GeneratorConfig()
    critic: CriticConfig = CriticConfig()
    view: ViewConfig = ViewConfig()
    poses: PoseConfig = PoseConfig()
    reading: ReadingConfig = ReadingConfig()

    @classmethod
    def of(cls, config: Config) -> "Form":
        """That of a training."""
        return cls(
            generator=config.generator,
            critic=config.critic,
            view=_part(ViewConfig, config.data),
            poses=_part(PoseConfig, config.augment),
            reading=_part(ReadingConfig, config.data),
        )


S = TypeVar("S", bound=Settings)


def _part(kind: type[S], whole: Settings) -> S:
    """The settings of one kind among those of a kind that extends it."""
    return kind.model_validate(whole.model_dump(include=set(kind.model_fields)))


def preset_folder() -> Path:
    """Where the presets lie: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / PRESETS
    return inside if inside.is_dir() else package.parent / PRESETS


def default_preset(device: str) -> str:
    """The preset of a training that names none, by the type of the device that it computes on."""
    return "quick" if device == "cpu" else "standard"


def load_config(source: str | Path, overrides: Mapping[str, Mapping[str, Any]]) -> Config:
    """A preset's name or a YAML file, with overrides ``{section: {key: value}}`` on top; values of
    None are left out. A file that names a ``preset`` begins with that one's settings.

    Raises:
        SettingError: if there is no such preset or file, a key is unknown, or a value is out of
            range.
    """
    path = _find(source)
    given = {
        section: {key: value for key, value in values.items() if value is not None}
        for section, values in overrides.items()
    }
    return parse_config(_laid_over(_read(path), given), origin=str(path), overrides=given)


def parse_config(
    tree: Mapping[str, Any],
    *,
    origin: str,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
) -> Config:
    """Validate a tree of settings; ``origin`` says in messages where it came from, all but
    ``overrides``.
    """
    return validated(Config, tree, origin=origin, overrides=overrides)


def validated(
    kind: type[S],
    tree: Any,
    *,
    origin: str,
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
) -> S:
    """Settings of a kind from a tree, as ``parse_config``.

    Raises:
        SettingError: if a key is unknown, or a value out of range.
    """
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        # The two sides of a size may be wrong for the same reason.
        said = dict.fromkeys(_explain(kind, e, origin, overrides or {}) for e in error.errors())
        raise SettingError("\n".join(said)) from error


def dump_config(config: Config) -> str:
    """The resolved configuration as YAML."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def names_setting(source: str | Path, section: str, key: str) -> bool:
    """Whether a YAML file itself names a setting; a preset does not, nor does a file for the one
    that it begins with.

    Raises:
        SettingError: as ``load_config``.
    """
    path = _find(source)
    settings = _own(path).get(section)
    return path == Path(source) and isinstance(settings, dict) and key in settings


def _read(path: Path) -> dict[str, Any]:
    """The settings of a file, over those of the preset that it begins with."""
    tree = _own(path)
    preset = tree.pop(BASE, None)
    if preset is None:
        return tree
    try:
        below = _preset(preset)
    except SettingError as error:
        raise SettingError(f"{BASE} in {path}: {error}") from error
    return _laid_over(_read(below), tree)


def _own(path: Path) -> dict[str, Any]:
    """What stands in a file itself."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(tree, dict):
        raise SettingError(f"{path} holds a {type(tree).__name__}; expected sections of settings")
    return tree


def _laid_over(tree: dict[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Sections of settings with those of ``top`` in their place; what is no section is left for
    the validation to refuse.
    """
    merged = {**tree}
    for section, values in top.items():
        below = tree.get(section) or {}
        both = isinstance(values, Mapping) and isinstance(below, Mapping)
        merged[section] = {**below, **values} if both else values or below
    return merged


def _find(source: str | Path) -> Path:
    path = Path(source)
    return path if path.is_file() else _preset(source)


def _preset(name: str | Path) -> Path:
    preset = preset_folder() / f"{name}.yaml"
    if os.sep not in str(name) and preset.is_file():
        return preset
    known = ", ".join(sorted(p.stem for p in preset_folder().glob("*.yaml")))
    raise SettingError(
        f"no configuration {name}: expected a YAML file or one of the presets {known}"
    )


def _explain(
    kind: type[Settings], error: Any, origin: str, overrides: Mapping[str, Mapping[str, Any]]
) -> str:
    loc = [part for part in error["loc"] if isinstance(part, str)]
    where = ".".join(loc) or "the settings"
    if error["type"] == "extra_forbidden":
        return f"unknown setting {where} in {origin}{_nearest(kind, error['loc'])}"
    origin = _source(loc, origin, overrides)
    message = error["msg"].removeprefix("Value error, ")
    found = "" if isinstance(error["input"], dict) else f": found {error['input']!r}"
    return f"{where}{found}; {message[0].lower()}{message[1:]} ({origin})"


def _source(loc: Sequence[str], origin: str, overrides: Mapping[str, Mapping[str, Any]]) -> str:
    """Where the settings that a message is about came from; one of a whole section or of several
    may be about either.
    """
    if len(loc) > 1:
        return OVERRIDES if loc[1] in overrides.get(loc[0], ()) else origin
    given = overrides.get(loc[0]) if loc else any(overrides.values())
    return f"{OVERRIDES}, and {origin}" if given else origin


def _nearest(kind: type[Settings], loc: tuple[Any, ...]) -> str:
    model: Any = kind
    for part in loc[:-1]:
        model = model.model_fields[part].annotation
    meant = nearest(str(loc[-1]), model.model_fields)
    return f"; did you mean {meant}?" if meant else f"; known: {', '.join(model.model_fields)}"
