"""How a training goes, whatever its method."""

from typing import Literal, Self

from pydantic import Field, model_validator

from defectgan.settings.base import Decay, Settings

Precision = Literal["auto", "fp32", "bf16"]
JudgedBy = Literal["auto", "imagenet", "classifier"]
# What a training may begin with, by name.
HEAD_START, AT_RANDOM = "headstart", "none"


class OptimConfig(Settings):
    lr: float = Field(2e-4, gt=0, description="Adam's learning rate at the first step")
    constant: float = Field(
        0.0, ge=0, lt=1, description="share of the steps at that rate, before it falls linearly"
    )
    final_lr: float = Field(1e-6, ge=0, description="learning rate at the last step")
    betas: tuple[Decay, Decay] = Field((0.5, 0.999), description="Adam's decays, a step")
    ema: float = Field(0.999, ge=0, lt=1, description="decay of the generator's average, a step")

    @model_validator(mode="after")
    def _rates_fall(self) -> Self:
        if self.final_lr > self.lr:
            raise ValueError(f"final_lr {self.final_lr} is larger than lr {self.lr}")
        return self


class TrainingConfig(Settings):
    steps: int = Field(100_000, ge=1, description="generator steps")
    batch_size: int = Field(4, ge=2, multiple_of=2, description="images; half normal, half defects")
    init_from: str | None = Field(
        None,
        description=f"run folder or weights to begin with, {HEAD_START} for those that come with "
        f"the package, which know drawn defects, None or {AT_RANDOM}: at random",
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
    def start(self) -> str | None:
        """What it begins with; None: at random."""
        return None if self.init_from == AT_RANDOM else self.init_from
