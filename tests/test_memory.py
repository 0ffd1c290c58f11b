"""Where memory ends: what is halved, what is said, and that results stay the same."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from defectgan.errors import OutOfMemory
from defectgan.memory import Portions, attempt, enough_memory

# More than any machine has: torch refuses it at once.
ALL_OF_IT = 2**60


def doubled(numbers: list[int], room: int, said: list[str], *, size: int) -> list[list[int]]:
    """Twice each number, on a device with room for so many at once."""

    def compute(part: slice) -> list[int]:
        if len(numbers[part]) > room:
            torch.empty(ALL_OF_IT)
        return [2 * number for number in numbers[part]]

    return Portions(size, "numbers", said.append)(len(numbers), compute)


@given(st.integers(0, 40), st.integers(1, 50), st.integers(1, 50))
def test_portions_make_the_same_whole_however_little_fits(count: int, size: int, room: int) -> None:
    said: list[str] = []
    parts = doubled(list(range(count)), room, said, size=size)
    assert [number for part in parts for number in part] == [2 * n for n in range(count)]
    assert all(0 < len(part) <= min(size, room) for part in parts)
    assert len(said) == (min(count, size) > room)


def test_what_does_not_fit_and_what_does_is_said_once() -> None:
    said: list[str] = []
    doubled(list(range(100)), 10, said, size=64)
    assert said == [
        "64 numbers at once do not fit into memory: goes on with 8 at once, which changes nothing "
        "but the speed"
    ]


def test_portions_that_fit_no_single_one_are_an_error() -> None:
    with pytest.raises(OutOfMemory, match="not even one of the numbers fits into memory"):
        doubled([1, 2], 0, [], size=2)


def test_an_attempt_gives_back_what_it_held_and_hides_no_other_error() -> None:
    assert attempt(lambda: torch.empty(ALL_OF_IT)) is None
    assert attempt(lambda: 3) == 3

    def ended() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def wrong() -> None:
        raise RuntimeError("shapes do not match")

    assert attempt(ended) is None
    with pytest.raises(RuntimeError, match="shapes do not match"):
        attempt(wrong)


def test_numpys_memory_ends_as_torchs_does() -> None:
    def full() -> None:
        np.empty(ALL_OF_IT, np.uint8)

    with pytest.raises(MemoryError):
        full()
    assert attempt(full) is None
    with pytest.raises(OutOfMemory, match="not even one of the numbers"):
        Portions(2, "numbers")(2, lambda part: full())
    with pytest.raises(OutOfMemory, match="a batch does not fit"), enough_memory("a batch", "-"):
        full()


def test_what_has_no_smaller_form_says_what_to_do_instead() -> None:
    with (
        pytest.raises(OutOfMemory, match="a batch does not fit into memory: take a smaller one"),
        enough_memory("a batch", "take a smaller one"),
    ):
        torch.empty(ALL_OF_IT)
    with pytest.raises(RuntimeError, match="no matter"), enough_memory("a batch", "-"):
        raise RuntimeError("no matter")
