"""A configuration that is accepted can be trained with; the others are refused in a sentence."""

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from defectgan.errors import SettingError
from defectgan.methods.base import Task
from defectgan.methods.config import Config, parse_config
from defectgan.methods.registry import METHODS, make_method, method_named
from defectgan.training.state import State
from tests.conftest import CPU

INF, NAN = float("inf"), float("nan")
flags = st.booleans()
# Mostly what can be: with one bad value in each, hardly any configuration would be built.
few = st.one_of(*[st.integers(4, 9)] * 6, st.sampled_from([-1, 0, 1, 10**9]))
layers = st.one_of(*[st.integers(2, 5)] * 6, st.sampled_from([-1, 0, 1, 9]))
rates = st.one_of(*[st.sampled_from([1e-6, 1e-3, 1.0])] * 6, st.sampled_from([0.0, -1.0, INF, NAN]))
decays = st.one_of(*[st.sampled_from([0.0, 0.5, 0.999])] * 6, st.sampled_from([1.0, 2.0, -1, NAN]))
SECTIONS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "data": {"image_size": st.sampled_from([16, 32, (16, 48), 48, 24])},
    "optim": {
        "lr": rates,
        "final_lr": rates,
        "betas": st.lists(decays, min_size=2, max_size=2),
        "ema": decays,
    },
}
METHOD: dict[str, st.SearchStrategy[Any]] = {
    "width": few,
    "residual_blocks": st.integers(0, 2),
    "critic_width": few,
    "critic_layers": layers,
}
SPADE = {"spade_hidden": few, "noise_scale": rates}
OF_METHOD: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "defectgan": METHOD | SPADE,
    "robust": METHOD
    | SPADE
    | {
        "control": st.sampled_from(["spade", "concatenated"]),
        "layered": flags,
        "tower_lr": rates,
        "tower_width": st.sampled_from([8, 16, 24, 12]),
    },
    "stargan": METHOD,
    "starganv2": METHOD
    | {
        "stages": layers,
        "latent": few,
        "style_size": few,
        "mapping_width": few,
        "mapping_lr": rates,
    },
    "spade": {
        **{name: kind for name, kind in METHOD.items() if name != "residual_blocks"},
        **{"spade_hidden": few, "style_size": few, "stages": layers, "style_layers": layers},
        **{"scales": layers, "critic_lr": rates},
    },
    "pix2pixhd": METHOD | {"stages": layers, "local_blocks": st.integers(0, 2), "scales": layers},
}
OF_METHOD["exemplar"] = {
    k: v for k, v in OF_METHOD["robust"].items() if k not in ("control", "layered")
}
OF_METHOD["pix2pix"] = {name: METHOD[name] for name in ("width", "critic_width")}
OF_METHOD["cyclegan"] = OF_METHOD["pix2pix"] | {"residual_blocks": METHOD["residual_blocks"]}
NOISE = {k: v for k, v in METHOD.items() if k != "residual_blocks"} | {"latent": few}
OF_METHOD |= dict.fromkeys(("acgan", "cgan", "gan", "wgan", "wgan-gp"), NOISE)
SMALL = {"width": 4, "residual_blocks": 1, "critic_width": 4, "critic_layers": 2}
OWN: dict[str, dict[str, Any]] = {
    "spade": {"style_layers": 3, "spade_hidden": 4},
    # Its weights come in a package.
    "pix2pixhd": {"perceptual": 0},
}


def small(name: str) -> dict[str, Any]:
    sizes = {key: size for key, size in SMALL.items() if key in OF_METHOD[name]}
    return sizes | OWN.get(name, {}) | {"name": name}


def some(section: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=section)


trees = st.sampled_from(sorted(OF_METHOD)).flatmap(
    lambda name: st.fixed_dictionaries(
        {
            "method": some(OF_METHOD[name]).map(lambda some: small(name) | some),
            "data": some(SECTIONS["data"]).map(lambda some: {"image_size": 32} | some),
        },
        optional={"optim": some(SECTIONS["optim"])},
    )
)


def built(config: Config) -> None:
    """Networks and optimisers, and both networks once forward."""
    height, width = config.data.image_size
    method = make_method(config.method, Task(1, 3, (height, width)))
    painter = State(config, method, device=CPU).painting
    image = torch.zeros(1, 1, height, width)
    painted = painter.paint(image, [1], torch.zeros(1, painter.noise_size(height, width))).image
    assert painted.shape == image.shape
    if painter.has_critic:
        assert painter.classify(painted).shape == (1, 3)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(trees)
def test_a_configuration_either_builds_or_is_refused(tree: dict[str, dict[str, Any]]) -> None:
    try:
        config = parse_config(tree, origin="tests")
    except SettingError:
        return
    built(config)


@pytest.mark.parametrize("name", METHODS)
def test_what_the_property_above_is_drawn_from_is_not_all_refused(name: str) -> None:
    tree = {"data": {"image_size": 32}, "method": small(name)}
    built(parse_config(tree, origin="tests"))


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"optim": {"betas": [2, 3]}}, r"optim\.betas: found 2; input should be less than 1"),
        ({"optim": {"betas": [0.5, 1.0]}}, r"optim\.betas: found 1\.0"),
        ({"optim": {"betas": [0.5]}}, r"optim\.betas"),
        ({"optim": {"lr": INF}}, r"optim\.lr: found inf; .*finite"),
        ({"method": {"rec": INF}}, r"method\.rec: found inf; .*finite"),
        (
            {"method": {"name": "robust", "tower_lr": 1e-7}},
            r"final_lr 1e-06 is larger than tower_lr 1e-07",
        ),
        ({"data": {"classes": []}}, r"data\.classes: found \[\]"),
        ({"data": {"workers": 10**6}}, r"data\.workers"),
        ({"method": {"width": 10**9}}, r"method\.width"),
        (
            {"method": {"critic_width": 512, "critic_layers": 8}},
            r"end at 65536 channels, at most 8192",
        ),
    ],
)
def test_a_value_that_torch_would_refuse_later_is_refused_at_once(
    tree: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingError, match=message):
        parse_config(tree, origin="mine.yaml")


def test_every_number_of_a_setting_has_a_range() -> None:
    """A setting without one would be the next to end in a traceback."""
    kinds: dict[str, Any] = {n: f.annotation for n, f in Config.model_fields.items()}
    del kinds["method"]
    kinds |= {f"method {name}": method_named(name).Settings for name in METHODS}
    free = [
        f"{section}.{name}"
        for section, model in kinds.items()
        for name, field in model.model_fields.items()
        if field.annotation in (int, float, int | None, float | None) and not field.metadata
    ]
    assert free == [] and len(kinds) == 4 + len(METHODS)
