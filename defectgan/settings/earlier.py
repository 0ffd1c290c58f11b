"""Settings as earlier versions wrote them: one method, in sections for networks and loss."""

from collections.abc import Mapping
from typing import Any

from defectgan.errors import SettingError

METHOD = "method"
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
# Switches that only ever moved together: what they are in the robust form. The other value is the
# published one.
SWITCHES = {
    ("generator", "residual_foreground"): True,
    ("generator", "skips"): True,
    ("generator", "head_sees_image"): True,
    ("generator", "spade_residual"): True,
    ("critic", "class_tower"): True,
    ("loss", "sparsity_by_class"): True,
    ("loss", "cycle_defects"): False,
}
# Experiments that lost, by the value that was no experiment.
GONE = {("critic", "class_score"): False, ("critic", "features"): None}
# What one of the two forms does not have, by the value that says so.
ALIEN: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "defectgan": {
        "control": ("spade",),
        "layered": (True,),
        "cls_s": (0,),
        "warmup_steps": (0,),
        "warmup_until": (),
        "tower_lr": (),
        "tower_width": (),
    },
    "robust": {"sparsity_warmup": (0,)},
}


def as_today(tree: dict[str, Any], *, origin: str) -> dict[str, Any]:
    """A tree of settings with those of the method where they stand today; one that has them there
    already comes back as it is.

    Raises:
        SettingError: if they are of a method that is no more.
    """
    sections = {name: value for name, value in tree.items() if isinstance(value, dict)}
    if not any(_earlier(name, sections.get(name, {})) for name in MOVED):
        return tree
    method = {
        new: sections[section][old]
        for section, names in MOVED.items()
        for old, new in names.items()
        if old in sections.get(section, {})
    }
    name = _form(sections, origin)
    if name is not None:
        method = {"name": name} | {
            key: value for key, value in method.items() if not _alien(name, key, value, origin)
        }
    left = {name: _left(name, value) for name, value in tree.items()}
    kept = {name: value for name, value in left.items() if value is not None}
    return kept | {METHOD: {**method, **sections.get(METHOD, {})}}


def _earlier(section: str, values: Mapping[str, Any]) -> bool:
    return bool(values) and (
        section in ("generator", "critic", "loss") or any(key in values for key in MOVED[section])
    )


def _form(sections: Mapping[str, Mapping[str, Any]], origin: str) -> str | None:
    """The form that its switches say, None where there are none.

    Raises:
        SettingError: if they say neither.
    """
    there = {
        (section, key): value
        for section, values in sections.items()
        for key, value in values.items()
        if (section, key) in SWITCHES or (section, key) in GONE
    }
    for key, value in GONE.items():
        if there.pop(key, value) != value:
            raise SettingError(
                f"{'.'.join(key)} in {origin} is of an experiment that was given up: train anew"
            )
    robust = {value == SWITCHES[key] for key, value in there.items()}
    if sections.get("generator", {}).get("control") == "concatenated":
        robust = {v == SWITCHES[k] for k, v in there.items() if k[1] != "spade_residual"}
    if len(robust) > 1:
        raise SettingError(
            f"{origin} mixes the published form and the robust one ("
            f"{', '.join('.'.join(key) for key in there)}): there is no form between them any "
            "more; take a preset, and train anew"
        )
    return None if not robust else "robust" if robust.pop() else "defectgan"


def _alien(form: str, key: str, value: Any, origin: str) -> bool:
    """Whether the form has no such setting.

    Raises:
        SettingError: if it was in force.
    """
    if key not in ALIEN[form]:
        return False
    idle = ALIEN[form][key]
    if idle and value not in idle:
        raise SettingError(
            f"{key} is {value} in {origin}, which the form {form} does not have any more: train "
            "anew"
        )
    return True


def _left(section: str, values: Any) -> Any:
    """What of a section is still there."""
    if section in ("generator", "critic", "loss") and isinstance(values, dict):
        known = {*MOVED[section], *(k for s, k in (*SWITCHES, *GONE) if s == section)}
        return {key: value for key, value in values.items() if key not in known} or None
    if section in MOVED and isinstance(values, dict):
        return {key: value for key, value in values.items() if key not in MOVED[section]}
    return values
