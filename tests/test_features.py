"""What images are compared by."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from defectgan.data.index import Index, index_data
from defectgan.errors import ModelError
from defectgan.evaluation import features
from defectgan.evaluation.classifier import SMALL, Recipe
from defectgan.evaluation.features import Domain, Wanted, make_features
from defectgan.evaluation.fixed import installed
from defectgan.evaluation.inception import Inception
from defectgan.evaluation.pools import Pixels, pixels, see
from defectgan.settings.data import DataConfig
from tests.conftest import CPU

SEEN = DataConfig(image_size=(32, 32))


def domain(index: Index, **options: Any) -> tuple[Domain, list[int]]:
    told: list[int] = []
    usual: dict[str, Any] = {"net": SMALL, "steps": 2, "batch_size": 4}
    recipe = Recipe(**(usual | options))
    return Domain(index, SEEN, recipe, device=CPU, done=told.append), told


@pytest.fixture
def index(boards: Path) -> Index:
    return index_data(boards, DataConfig())


@pytest.fixture
def images(index: Index) -> list[Pixels]:
    return pixels(see(index, SEEN))[1]


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEFECTGAN_CACHE", str(tmp_path / "cache"))


def test_a_domain_classifier_is_trained_once_for_the_same_images(
    index: Index, images: list[Pixels], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, told = domain(index)
    assert told == [1, 1]
    monkeypatch.delattr(features, "train_classifier")
    again, told = domain(index)
    assert told == [2]
    torch.testing.assert_close(first(images), again(images), rtol=0, atol=0)
    assert first.facts == again.facts
    with pytest.raises(NameError):
        domain(index, seed=1)


@pytest.mark.parametrize("name", ["__version__", "TRAINED_AS"])
def test_a_classifier_of_other_code_is_not_taken_from_the_cache(
    index: Index, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    domain(index)
    monkeypatch.setattr(features, name, "another")
    _, told = domain(index)
    assert told == [1, 1]


def test_other_content_under_the_same_names_makes_another_classifier(
    boards: Path, index: Index, tmp_path: Path
) -> None:
    first, _ = domain(index)
    moved = tmp_path / "moved"
    copies = []
    for sample in index.samples:
        copy = moved / sample.file.relative_to(index.root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(sample.file.read_bytes())
        copies.append(copy)
    same, told = domain(index_data(moved, DataConfig()))
    assert told == [2] and same.facts["weights"] == first.facts["weights"]
    copies[0].write_bytes(copies[1].read_bytes())
    other, told = domain(index_data(moved, DataConfig()))
    assert told == [1, 1] and other.facts["weights"] != first.facts["weights"]


def test_domain_features_know_the_classes_that_they_have_learned(
    index: Index, images: list[Pixels]
) -> None:
    learned, _ = domain(index, steps=30, augment=None)
    found = learned(images)
    assert found.dtype == torch.float64 and found.shape[0] == len(images)
    classes = pixels(see(index, SEEN))
    right = [(learned.classify(learned(p)) == k).double().mean() for k, p in enumerate(classes)]
    assert sum(right) / len(right) > 2 / len(right)


def test_features_are_seen_as_the_model_sees_but_for_the_size() -> None:
    windows = DataConfig(image_size=(32, 48), fit="crop")
    assert Wanted("domain").seen(windows) == windows
    larger = Wanted("domain", image_size="64").seen(windows)
    assert (larger.image_size, larger.crop_size) == ((64, 64), 32)
    assert Wanted("inception", Path("x")).seen(windows).image_size == (304, 304)
    fixed = Wanted("imagenet")
    assert (fixed.seen(windows).image_size, fixed.seen(windows).crop_size) == ((128, 192), 32)
    assert fixed.seen(DataConfig(image_size=(256, 160))).image_size == (256, 160)


def test_fixed_features_are_taken_where_they_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, name in ((True, "imagenet"), (False, "domain")):
        monkeypatch.setattr(features, "installed", lambda there=there: there)
        assert Wanted().name == name


@pytest.mark.skipif(not installed(), reason="the extra 'features' is not installed")
def test_fixed_features_say_whose_they_are_and_do_not_depend_on_the_batch(
    images: list[Pixels], index: Index
) -> None:
    fixed = make_features(Wanted("imagenet"), index, SEEN, device=CPU)
    found = fixed([*images, *images, *images][:9])
    assert found.dtype == torch.float64 and fixed.facts["image size"] == [128, 128]
    torch.testing.assert_close(found[:1], fixed(images[:1]), rtol=1e-3, atol=1e-4)
    assert fixed.facts["weights_sha256"].startswith("9656183e")
    assert fixed.classify(found) is None


@pytest.fixture(scope="module")
def random_inception(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an Inception of random weights."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Untrained(FeatureExtractorInceptionV3):  # type: ignore[misc]
        def load_state_dict(self, tensors: Any, **options: Any) -> None:
            pass

    file = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save({}, file)
    torch.manual_seed(0)
    net = Untrained("random", ["2048"], feature_extractor_weights_path=file)
    torch.save(net.state_dict(), file)
    return file


def test_inception_reads_gray_and_colour_and_says_whose_weights_it_has(
    random_inception: Path, images: list[Pixels]
) -> None:
    inception = Inception(random_inception, device=CPU)
    gray = [np.full((20, 30, 1), 90, np.uint8), np.zeros((20, 30, 1), np.uint8)]
    found = inception(gray)
    assert found.shape == (2, 2048) and found.dtype == torch.float64
    torch.testing.assert_close(found, inception([np.repeat(i, 3, axis=2) for i in gray]))
    assert len(inception.facts["weights_sha256"]) == 64
    assert "not the file that published figures are made with" in inception.notes[0]


class Trap:
    """Makes a folder where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.mkdir, (self.path,)


# Torch warns of what is then refused.
@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
def test_a_weights_file_is_never_run_and_another_network_is_named(tmp_path: Path) -> None:
    trap, sprung = tmp_path / "trap.pth", tmp_path / "sprung"
    torch.save({"weight": Trap(sprung)}, trap)
    with pytest.raises(ModelError, match=r"trap\.pth cannot be read as tensors alone"):
        Inception(trap, device=CPU)
    assert not sprung.exists()
    trap.write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(ModelError, match="cannot be read"):
        Inception(trap, device=CPU)
    assert not sprung.exists()
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ModelError, match="another network than torch-fidelity's Inception"):
        Inception(tmp_path / "other.pth", device=CPU)
    with pytest.raises(ModelError, match="no weights at"):
        Inception(tmp_path / "none.pth", device=CPU)
