"""Should the generated images be added? The answer in a sentence, and what it rests on.

What harms is decided on validation images, as a person would who has no test images yet; what is
gained is told of the test images. One network decides: the one that is best on validation images
without any generated ones, which is what a person would use instead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from defectgan.evaluation.arms import ASKED, GOOD_ONLY
from defectgan.evaluation.frozen import FROZEN
from defectgan.evaluation.gain_figures import CAUGHT, MAIN, percent, shares_of
from defectgan.evaluation.gain_intervals import Answers

Bounds = Sequence[float]
Says = Literal["add", "harm", "unclear"]
# The share of trainings that must be worse where the interval leaves it open.
MOST = 0.75


@dataclass(frozen=True)
class Evidence:
    """What the images do to one network: ``validation`` and ``test`` are gains with their bounds,
    of balanced accuracy and of the share of caught defects; ``without`` and ``with_`` are that
    share on the test images; of ``pairs`` of trainings ``worse`` are below their baseline on
    validation images, and ``losers`` are the classes of defects of which less is recalled there.
    """

    net: str
    baseline: float
    validation: Bounds
    pairs: int
    worse: int
    losers: tuple[str, ...]
    test: Bounds
    without: Bounds
    with_: Bounds

    @property
    def harmed(self) -> bool:
        """Whether validation images say that the images harm."""
        value, _, high = self.validation
        return high < 0 or (value < 0 and self.worse >= MOST * self.pairs)

    @property
    def says(self) -> Says:
        _, low, high = self.test
        if self.harmed or high < 0:
            return "harm"
        return "add" if low > 0 else "unclear"


@dataclass(frozen=True)
class GainVerdict:
    """``lines`` are sentences for a person, the first of which answers; ``evidence`` is that of
    each network, the one that decides first.
    """

    says: Says
    lines: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    classes: tuple[str, ...]

    @property
    def harms(self) -> bool:
        return self.says == "harm"


def main_figure(good: int) -> str:
    """The figure that decides, by the number of good test images."""
    shares = shares_of(good)
    return f"{CAUGHT}{percent(MAIN if MAIN in shares else shares[-1])}"


def share_of(figure: str) -> float:
    """The share of refused good parts of a figure."""
    return float(figure.removeprefix(CAUGHT).removesuffix(" %")) / 100


def judge(val: Answers, test: Answers) -> GainVerdict | None:
    """The verdict on the images of the arm ``ASKED``; None if it was not tested."""
    nets = [
        net
        for net in dict.fromkeys(row["net"] for row in test.rows)
        if any((row["net"], row["arm"]) == (net, ASKED.name) for row in test.rows)
    ]
    if not nets:
        return None
    found = sorted((_evidence(net, val, test) for net in nets), key=lambda e: -e.baseline)
    first = found[0]
    lines = [*_answer(first, test), *_beside_good_only(first, test), *_others(first, found[1:])]
    return GainVerdict(
        first.says, tuple(lines), tuple(found), first.losers if first.says == "harm" else ()
    )


def _evidence(net: str, val: Answers, test: Answers) -> Evidence:
    assert ASKED.baseline is not None
    figure = main_figure(test.counts[0])
    validated = val.gain(net, ASKED.name, ASKED.baseline)
    ours, base = (val.each(net, arm, "balanced") for arm in (ASKED.name, ASKED.baseline))
    differences = ours - base
    return Evidence(
        net=net,
        baseline=float(base.mean()),
        validation=validated["balanced"][""],
        pairs=differences.size,
        worse=int((differences < 0).sum()),
        losers=_losers(validated["recall"], val.classes[1:]),
        test=test.gain(net, ASKED.name, ASKED.baseline)[figure][""],
        without=test.level(net, ASKED.baseline)[figure][""],
        with_=test.level(net, ASKED.name)[figure][""],
    )


def _losers(recalls: Mapping[str, Bounds], defects: Sequence[str]) -> tuple[str, ...]:
    """The classes of defects of which less is recalled, those first that lose most."""
    lost = {name: recalls[name][0] for name in defects if recalls[name][0] < 0}
    return tuple(sorted(lost, key=lambda name: lost[name]))


def _answer(e: Evidence, test: Answers) -> list[str]:
    refused = main_figure(test.counts[0]).removeprefix(CAUGHT)
    told = (
        f"with {refused} of the good parts refused, {_hundred(e.with_)} of 100 defects are caught "
        f"instead of {_hundred(e.without)} ({_change(e.test)})"
    )
    if e.harmed:
        _, low, high = (100 * bound for bound in e.validation)
        return [
            f"Do not add these images{_least(e, test)}: on validation images balanced accuracy "
            f"falls by {-100 * e.validation[0]:.1f} points (95 % interval of the change "
            f"{low:+.1f} to {high:+.1f}; lower in {e.worse} of {e.pairs} trainings).",
            f"On test images, {told}.",
        ]
    match e.says:
        case "add":
            return [f"Add these images: {told}."]
        case "harm":
            return [f"Do not add these images: {told}."]
    return [f"These images make no difference that this test can show: {told}."]


def _least(e: Evidence, test: Answers) -> str:
    """The classes that lose, if it is not all of them."""
    if not e.losers or len(e.losers) == len(test.classes) - 1:
        return ""
    return f", least of all those of {_listed(e.losers)}"


def _beside_good_only(e: Evidence, test: Answers) -> list[str]:
    """How it stands beside a detector that has learned from good parts alone, if there is one."""
    if not any(row["arm"] == GOOD_ONLY for row in test.rows):
        return []
    figure = main_figure(test.counts[0])
    level = test.level(FROZEN, GOOD_ONLY)[figure][""]
    arm = ASKED.baseline if e.says == "harm" else ASKED.name
    assert arm is not None
    beside = _against(test, e.net, arm)
    own = e.without if e.says == "harm" else e.with_
    with_or_without = "without them" if e.says == "harm" else "with them"
    more = f"{100 * beside[0]:+.1f}, {_interval(beside)}"
    return [
        f"A detector that learns from good parts alone catches {_hundred(level)} of 100; the "
        f"classifier {with_or_without} {_hundred(own)} ({more})."
    ]


def _against(test: Answers, net: str, arm: str) -> Bounds:
    figure = main_figure(test.counts[0])
    return test.beside((net, arm), (FROZEN, GOOD_ONLY))[figure][""]


def _others(first: Evidence, others: Sequence[Evidence]) -> list[str]:
    """What the networks say that do not decide."""
    lines = []
    for e in others:
        if e.says == first.says:
            end = "it agrees"
        elif first.says == "add":
            end = "the gain vanishes there" if e.says == "unclear" else "there the images harm"
        else:
            end = {"add": "there they help", "harm": "there they harm"}.get(e.says, "unclear there")
        lines.append(
            f"{_network(e.net)}, which is worse without them: {_points(e.validation)} of balanced "
            f"accuracy on validation images, {100 * e.test[0]:+.1f} of 100 "
            f"defects caught on test images ({_interval(e.test)}); {end}."
        )
    return lines


def _network(net: str) -> str:
    return "A linear head on fixed features" if net == FROZEN else f"The network {net}"


def _hundred(bounds: Bounds) -> str:
    return f"{100 * bounds[0]:.0f}"


def _change(bounds: Bounds) -> str:
    return f"{100 * bounds[0]:+.1f}, {_interval(bounds)}"


def _points(bounds: Bounds) -> str:
    return f"{100 * bounds[0]:+.1f} points ({_interval(bounds)})"


def _interval(bounds: Bounds) -> str:
    _, low, high = (100 * b for b in bounds)
    return f"95 % interval {low:+.1f} to {high:+.1f}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
