import json
import warnings
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from defectgan import export as exporting
from defectgan.errors import CheckFailed, DataError, SettingError
from defectgan.export import Exported, available_formats, example, export, parse_formats
from defectgan.model.file import load_model

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")


@pytest.mark.slow
def test_every_format_answers_like_the_model_at_another_batch_size(
    run: Path, tmp_path: Path
) -> None:
    model = load_model(run)
    files = export(model, tmp_path, available_formats())
    assert [file.format for file in files] == ["safetensors", "onnx"]
    assert all(file.path.is_file() and file.max_difference < 1e-4 for file in files)


def test_exported_weights_are_the_generator_alone_and_load_again(run: Path, tmp_path: Path) -> None:
    model = load_model(run)
    (file,) = export(model, tmp_path, ["safetensors"])
    again = load_model(file.path)
    assert not again.painter.has_critic and again.info == model.info
    inputs = example(model, 2)
    assert_close(Exported(again.painter)(*inputs), Exported(model.painter)(*inputs))


def test_onnx_runs_with_one_image_and_with_many(run: Path, tmp_path: Path) -> None:
    import onnxruntime

    model = load_model(run)
    (file,) = export(model, tmp_path, ["onnx"])
    session = onnxruntime.InferenceSession(str(file.path), providers=["CPUExecutionProvider"])
    for count in (1, 5):
        image, label, noise = example(model, count)
        named = {"image": image.numpy(), "label": label.numpy(), "noise": noise.numpy()}
        painted = session.run(["painted"], named)[0]
        expected = Exported(model.painter)(image, label, noise)[0].detach()
        assert_close(torch.from_numpy(painted), expected, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_an_onnx_file_tells_what_its_inputs_mean(run: Path, tmp_path: Path) -> None:
    import onnxruntime

    model = load_model(run)
    (file,) = export(model, tmp_path, ["onnx"])
    session = onnxruntime.InferenceSession(str(file.path), providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["classes"]) == list(model.info.classes)
    assert json.loads(facts["image_size"]) == [32, 32] and facts["value_range"] == "[-1, 1]"
    assert json.loads(facts["levels"]) is None


def test_an_export_warns_of_nothing_that_it_means(run: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        export(load_model(run), tmp_path, ["onnx"])
    assert not [w for w in caught if "axis name" in str(w.message)]


def test_a_file_that_is_there_is_never_overwritten(run: Path, tmp_path: Path) -> None:
    (file,) = export(load_model(run), tmp_path, ["safetensors"])
    before = file.path.stat()
    with pytest.raises(DataError, match=r"generator\.safetensors is there already: name another"):
        export(load_model(run), tmp_path, ["onnx", "safetensors"])
    assert file.path.stat() == before and [*tmp_path.iterdir()] == [file.path]


def test_a_file_that_answers_differently_is_refused_and_not_kept(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)
    with pytest.raises(CheckFailed, match="answers differently from the model"):
        export(load_model(run), tmp_path, ["safetensors"])
    assert not list(tmp_path.iterdir())


def test_a_format_whose_packages_are_missing_says_what_to_install(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "find_spec", lambda name: None)
    assert available_formats() == ["safetensors"]
    with pytest.raises(SettingError, match="install the extra 'onnx'"):
        export(load_model(run), tmp_path, ["onnx"])


def test_an_unknown_format_is_answered_with_the_known_ones() -> None:
    with pytest.raises(SettingError, match="no export format tflite: expected safetensors or onnx"):
        parse_formats(["tflite"])
