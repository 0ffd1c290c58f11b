"""The critic D(x): patch scores and class logits.

B batch, C image channels, K classes, H x W pixels, h x w patches.
"""

from typing import NamedTuple

from torch import Tensor, nn

from defectgan.config import CriticConfig
from defectgan.models.layers import Conv

LEAK = 0.01
GROUPS = 8


class Verdict(NamedTuple):
    """``score`` [B, 1 or K, h, w], one channel a class where the score is class-wise, and
    ``logits`` [B, K].
    """

    score: Tensor
    logits: Tensor

    def of(self, label: Tensor) -> Tensor:
        """D(x) of each image [B]: the mean over patches of the score that belongs to its class."""
        return score_of(self.score, label)


def score_of(score: Tensor, label: Tensor) -> Tensor:
    """D(x) [B] from patch scores [B, 1 or K, h, w] and labels [B, K]."""
    pooled = score.mean((2, 3))
    return pooled[:, 0] if pooled.shape[1] == 1 else (pooled * label).sum(1)


class Critic(nn.Module):
    """PatchGAN critic with an auxiliary classifier; any image size.

    Published form: one trunk without normalization carries both heads (StarGAN, Choi et al., CVPR
    2018); its class logits are the mean over patches instead of being read by a kernel as large as
    the last map, which would tie the critic to one image size.

    ``class_tower``: the classifier has a trunk of its own. The gradient penalty holds the shared
    trunk's slope down, and with it the class head: on low-contrast defects that head was still at
    chance after 1,000 steps where a tower with group normalization had halved its cross-entropy.
    Its logits are the maximum over patches plus their mean (multiple-instance: one patch that shows
    the defect is enough), so a small defect is not diluted.

    ``class_score``: one score for each class (StarGAN v2's branches); a fake of class y is held
    against real images of class y.
    """

    def __init__(self, channels: int, classes: int, config: CriticConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.width * 2**i for i in range(config.layers)]
        self.trunk = nn.Sequential(
            *(
                nn.Sequential(Conv(cin, cout, 4, stride=2), nn.LeakyReLU(LEAK))
                for cin, cout in zip([channels, *widths[:-1]], widths, strict=True)
            )
        )
        scores = classes if config.class_score else 1
        self.score = Conv(widths[-1], scores, 3, bias=False)
        if config.class_tower:
            self.tower = class_tower(channels, config.tower_width, config.layers)
            last = config.tower_width * 2 ** (config.layers - 1)
            self.logits = Conv(last, classes, 3)
        else:
            self.logits = Conv(widths[-1], classes, 3, bias=False)

    def forward(self, image: Tensor) -> Verdict:
        features = self.trunk(image)
        logits = self._pool(self.tower(image) if self.config.class_tower else features)
        return Verdict(self.score(features).float(), logits)

    def scores(self, image: Tensor) -> Tensor:
        """The patch scores alone."""
        patches: Tensor = self.score(self.trunk(image))
        return patches.float()

    def classify(self, image: Tensor) -> Tensor:
        """The class logits alone."""
        return self._pool(self.tower(image) if self.config.class_tower else self.trunk(image))

    def _pool(self, features: Tensor) -> Tensor:
        patches: Tensor = self.logits(features).float()
        mean = patches.mean((2, 3))
        return mean + patches.amax((2, 3)) if self.config.class_tower else mean


def class_tower(channels: int, width: int, layers: int) -> nn.Sequential:
    """Convolutions at full size, then halving ones, each with group normalization: [B, C, H, W] to
    patch features.
    """
    blocks: list[nn.Module] = []
    for i in range(layers):
        cout = width * 2**i
        for conv in (
            Conv(channels, cout, 3),
            Conv(cout, cout, 4, stride=2),
        ):
            blocks += [conv, nn.GroupNorm(GROUPS, cout), nn.ReLU()]
        channels = cout
    return nn.Sequential(*blocks)
