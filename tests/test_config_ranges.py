"""A configuration that is accepted can be trained with; the others are refused in a sentence."""

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from defectgan.errors import SettingError
from defectgan.methods.config import Config, parse_config
from defectgan.model.form import Form
from defectgan.model.info import ModelInfo
from defectgan.networks.control import constant_map, one_hot
from defectgan.training.step import Engine
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
    "generator": {
        "width": few,
        "residual_blocks": st.integers(0, 2),
        "control": st.sampled_from(["spade", "concatenated"]),
        "layered": flags,
        "spade_hidden": few,
        "skips": flags,
        "head_sees_image": flags,
        "spade_residual": flags,
        "noise_scale": rates,
        "residual_foreground": flags,
    },
    "critic": {
        "width": few,
        "layers": layers,
        "class_score": flags,
        "class_tower": flags,
        "tower_width": st.sampled_from([8, 16, 24, 12]),
    },
    "optim": {
        "lr": rates,
        "tower_lr": rates,
        "final_lr": rates,
        "betas": st.lists(decays, min_size=2, max_size=2),
        "ema": decays,
    },
}
trees = st.fixed_dictionaries(
    {},
    optional={
        name: st.fixed_dictionaries({}, optional=section) for name, section in SECTIONS.items()
    },
)
SMALL = {
    "data": {"image_size": 32},
    "generator": {"width": 4, "residual_blocks": 1, "spade_hidden": 4},
    "critic": {"width": 4, "layers": 2},
    "optim": {},
}


def built(config: Config) -> None:
    """Networks and optimisers, and both networks once forward."""
    info = ModelInfo(Form.of(config), ("normal", "a", "b"), 1)
    engine = Engine(config, info, device=CPU, bf16=False)
    height, width = config.data.image_size
    image, label = torch.zeros(1, 1, height, width), one_hot([1], 3)
    noise = torch.zeros(1, engine.generator.noise_size(height, width))
    painted, _ = engine.generator.paint(image, constant_map(label), noise)
    assert engine.critic(painted).logits.shape == (1, 3)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(trees)
def test_a_configuration_either_builds_or_is_refused(tree: dict[str, dict[str, Any]]) -> None:
    merged = {name: {**small, **tree.get(name, {})} for name, small in SMALL.items()}
    try:
        config = parse_config(merged, origin="tests")
    except SettingError:
        return
    built(config)


def test_what_the_property_above_is_drawn_from_is_not_all_refused() -> None:
    built(parse_config(SMALL, origin="tests"))


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"optim": {"betas": [2, 3]}}, r"optim\.betas: found 2; input should be less than 1"),
        ({"optim": {"betas": [0.5, 1.0]}}, r"optim\.betas: found 1\.0"),
        ({"optim": {"betas": [0.5]}}, r"optim\.betas"),
        ({"optim": {"lr": INF}}, r"optim\.lr: found inf; .*finite"),
        ({"loss": {"rec": INF}}, r"loss\.rec: found inf; .*finite"),
        ({"optim": {"tower_lr": 1e-7}}, r"final_lr 1e-06 is larger than tower_lr 1e-07"),
        ({"data": {"classes": []}}, r"data\.classes: found \[\]"),
        ({"data": {"workers": 10**6}}, r"data\.workers"),
        ({"generator": {"width": 10**9}}, r"generator\.width"),
        ({"critic": {"width": 512, "layers": 8}}, r"end at 65536 channels, at most 8192"),
    ],
)
def test_a_value_that_torch_would_refuse_later_is_refused_at_once(
    tree: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingError, match=message):
        parse_config(tree, origin="mine.yaml")


def test_every_number_of_a_setting_has_a_range() -> None:
    """A setting without one would be the next to end in a traceback."""
    free = [
        f"{section}.{name}"
        for section, model in ((n, f.annotation) for n, f in Config.model_fields.items())
        for name, field in model.model_fields.items()  # type: ignore[union-attr]
        if field.annotation in (int, float, int | None, float | None) and not field.metadata
    ]
    assert free == []
