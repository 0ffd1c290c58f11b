"""Settings as earlier versions wrote them: one method, in sections for networks and loss."""

from collections.abc import Mapping
from typing import Any

from defectgan.errors import SettingError
from defectgan.words import nearest

METHOD = "method"
PUBLISHED, ROBUST, EXEMPLAR = "defectgan", "robust", "exemplar"
# The robust form, and the one that has come of it since: what lies below a file of before may be
# of that, as presets are.
ROBUSTS = (ROBUST, EXEMPLAR)
# What stands in the section of the method now, by section and name of before.
MOVED = {
    "generator": {
        name: name
        for name in (
            "width",
            "residual_blocks",
            "spade_hidden",
            "noise_scale",
            "control",
            "layered",
        )
    },
    "critic": {"width": "critic_width", "layers": "critic_layers", "tower_width": "tower_width"},
    "loss": {
        name: name
        for name in (
            *("adv", "gp", "cls_r", "cls_f", "cls_s", "rec", "sd_cyc", "sd_con"),
            *("mask_supervision", "sparsity_warmup"),
        )
    },
    "optim": {"tower_lr": "tower_lr"},
    "training": {
        "n_critic": "n_critic",
        "lead_steps": "warmup_steps",
        "lead_until": "warmup_until",
    },
}
# Sections of which nothing is left.
DISSOLVED = ("generator", "critic", "loss")
# Those that shape networks.
NETWORKS = ("generator", "critic")
# Switches that only ever moved together: what they are in the robust form. The other value is the
# published one, and what they were where a file left them out.
SWITCHES = {
    ("generator", "residual_foreground"): True,
    ("generator", "skips"): True,
    ("generator", "head_sees_image"): True,
    ("generator", "spade_residual"): True,
    ("critic", "class_tower"): True,
    ("loss", "sparsity_by_class"): True,
    ("loss", "cycle_defects"): False,
}
# A switch of what is not there where the class stands beside the image.
SPADE_ALONE = ("generator", "spade_residual")
# Experiments that lost, by the value that was no experiment.
GONE = {("critic", "class_score"): False, ("critic", "features"): None}
# What one of the two forms does not have, by the values that say so; none: any value does.
ALIEN: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    PUBLISHED: {
        "control": ("spade",),
        "layered": (True,),
        "cls_s": (0,),
        "warmup_steps": (0,),
        "warmup_until": (),
        "tower_lr": (),
        "tower_width": (),
    },
    ROBUST: {"sparsity_warmup": (0,)},
    EXEMPLAR: {"sparsity_warmup": (0,)},
}
# What a file that names no preset had left out, where the robust form has another default today.
DEFAULTS = {
    "width": 64,
    "residual_blocks": 6,
    "spade_hidden": 128,
    "noise_scale": 0.0,
    "critic_width": 64,
    "critic_layers": 6,
    "cls_f": 5.0,
    "cls_s": 0.0,
    "sd_cyc": 5.0,
    "sd_con": 1.0,
    "n_critic": 5,
    "warmup_steps": 0,
    "warmup_until": 0.6,
    "tower_lr": None,
}
LR = 2e-4

Tree = Mapping[str, Any]
Sections = Mapping[str, Mapping[str, Any]]


def as_today(tree: dict[str, Any], below: Tree | None = None, *, origin: str) -> dict[str, Any]:
    """A tree of settings with those of the method where they stand today; one that has them there
    already comes back as it is.

    Args:
        tree: as a file has it.
        below: the settings that it is laid over, as of today; None: the defaults.
        origin: what file it is, for messages.

    Raises:
        SettingError: if they are of a method that is no more, or unknown.
    """
    sections = {name: value for name, value in tree.items() if isinstance(value, dict)}
    if not any(_earlier(name, sections.get(name, {})) for name in MOVED):
        return tree
    _known(sections, origin)
    before = _name(below)
    form = _form(sections, before or PUBLISHED, origin)
    method = {
        new: sections[section][old]
        for section, names in MOVED.items()
        for old, new in names.items()
        if old in sections.get(section, {})
    }
    method = {key: v for key, v in method.items() if not _alien(form, key, v, origin)}
    if form in ROBUSTS:
        method = (DEFAULTS if below is None else {}) | method
        if method.get("tower_lr", 0) is None:
            method["tower_lr"] = _rate(sections, below)
    if form != before:
        method = {"name": form} | method
    left = {name: _left(name, value) for name, value in tree.items() if name not in DISSOLVED}
    return left | {METHOD: {**method, **sections.get(METHOD, {})}}


def shape_today(networks: Sections, *, origin: str) -> dict[str, Any]:
    """Of the sections of the networks alone, what shapes those of today.

    Raises:
        SettingError: as ``as_today``.
    """
    given = {section: dict(networks.get(section, {})) for section in NETWORKS}
    robust = given["generator"].get("residual_foreground", False)
    # The losses' switches shape no weights: they are taken to be those of the form.
    given["loss"] = {k: v is robust for (s, k), v in SWITCHES.items() if s == "loss"}
    method = as_today(given, origin=origin)[METHOD]
    shaping = {"name", *(new for section in NETWORKS for new in MOVED[section].values())}
    return {key: value for key, value in method.items() if key in shaping}


def _earlier(section: str, values: Mapping[str, Any]) -> bool:
    return bool(values) and (section in DISSOLVED or any(key in values for key in MOVED[section]))


def _known(sections: Sections, origin: str) -> None:
    """Refuse what no version knew.

    Raises:
        SettingError: if there is any.
    """
    for section in DISSOLVED:
        names = {*MOVED[section], *(k for s, k in (*SWITCHES, *GONE) if s == section)}
        for key in sections.get(section, {}):
            if key not in names:
                meant = nearest(str(key), names)
                suggestion = f"; did you mean {meant}?" if meant else ""
                raise SettingError(f"unknown setting {section}.{key} in {origin}{suggestion}")


def _name(below: Tree | None) -> str | None:
    """The method of what lies below."""
    section = (below or {}).get(METHOD)
    name = section.get("name", PUBLISHED) if isinstance(section, Mapping) else PUBLISHED
    return None if below is None else str(name)


def _form(sections: Sections, before: str, origin: str) -> str:
    """The form that its switches say, over one that lies below.

    Raises:
        SettingError: if they say neither.
    """
    for (section, key), value in GONE.items():
        if sections.get(section, {}).get(key, value) != value:
            raise SettingError(
                f"{section}.{key} in {origin} is of an experiment that was given up: train anew"
            )
    given = {(s, k): sections[s][k] for s, k in SWITCHES if k in sections.get(s, {})}
    if not given:
        return before
    below = before in ROBUSTS
    switches = {key: v if below else not v for key, v in SWITCHES.items()} | given
    if sections.get("generator", {}).get("control") == "concatenated":
        del switches[SPADE_ALONE]
    robust = {key for key, value in switches.items() if value == SWITCHES[key]}
    if robust and robust != switches.keys():
        raise SettingError(
            f"{origin} mixes the published form and the robust one: of the latter are "
            f"{_listed(robust)}, and {_listed(switches.keys() - robust)} "
            "are not; there is no form between them any more: take a preset, and train anew"
        )
    if not robust:
        return PUBLISHED
    return before if below else ROBUST


def _listed(switches: Any) -> str:
    return ", ".join(".".join(key) for key in SWITCHES if key in switches)


def _alien(form: str, key: str, value: Any, origin: str) -> bool:
    """Whether the form has no such setting.

    Raises:
        SettingError: if it was in force.
    """
    idle = ALIEN.get(form, {}).get(key)
    if idle and value not in idle:
        raise SettingError(
            f"{key} is {value} in {origin}, which the method {form} does not have any more: train "
            "anew"
        )
    return idle is not None


def _rate(sections: Sections, below: Tree | None) -> Any:
    """The learning rate of all that has none of its own."""
    for tree in (sections, below or {}):
        section = tree.get("optim")
        if isinstance(section, Mapping) and "lr" in section:
            return section["lr"]
    return LR


def _left(section: str, values: Any) -> Any:
    """What of a section is still there."""
    if section in MOVED and isinstance(values, dict):
        return {key: value for key, value in values.items() if key not in MOVED[section]}
    return values
