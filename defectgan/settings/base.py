"""What all settings have in common."""

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Decay = Annotated[float, Field(ge=0, lt=1)]


class Settings(BaseModel):
    """Frozen; an unknown key is an error, and so is a number that is not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


S = TypeVar("S", bound=Settings)


def part(kind: type[S], whole: Settings) -> S:
    """The settings of one kind among those of a kind that extends it."""
    return kind.model_validate(whole.model_dump(include=set(kind.model_fields)))
