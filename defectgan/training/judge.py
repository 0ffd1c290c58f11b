"""How good a model is while it trains: what its losses, each a balance of two sides, do not say.

kid_share  how far what is painted lies from real defects, as a share of how far normal images do,
           in the critic's features: 1 as if nothing were painted, 0 no difference. The critic
           changes meanwhile; the share changes less with it than the distance itself.
confirmed  share of painted images whose class the critic's classifier names
agreement  of the mask that paints a defect and the one that takes it away again, as IoU

Source: the kernel distance is that of Binkowski et al., "Demystifying MMD GANs", ICLR 2018.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from defectgan.config import Config
from defectgan.data.dataset import Batches, make_batches
from defectgan.data.index import Index
from defectgan.data.samples import VAL
from defectgan.memory import Portions
from defectgan.models.critic import Critic
from defectgan.models.generator import Generator
from defectgan.training.step import paint_class

# Of each class, at most; at a time as many as the training's batch.
IMAGES = 32
# A class with fewer validation images cannot be judged by them.
FEWEST = 4
SCORE = "kid_share"


def kernel_distance(x: Tensor, y: Tensor) -> Tensor:
    """The unbiased squared MMD of features [M, F] and [N, F] under ``(<x, y> / F + 1)^3``, M and N
    at least 2; 0 on average for samples of one distribution.
    """
    # An evaluation takes torch-fidelity's, an extra that a training does without; a test holds the
    # two equal. That one runs on the CPU.
    (m, size), n = x.shape, len(y)
    xx, yy, xy = ((a @ b.T / size + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    within = (xx.sum() - xx.trace()) / (m * (m - 1)) + (yy.sum() - yy.trace()) / (n * (n - 1))
    return within - 2 * xy.mean()


def agreement(mask: Tensor, other: Tensor) -> Tensor:
    """IoU of soft masks [B, 1, H, W], the mean over them; 1 where both are 0 all over."""
    both, either = (f(mask, other).sum((1, 2, 3)) for f in (torch.minimum, torch.maximum))
    return torch.where(either > 0, both / either.clamp(min=1e-12), 1.0).mean()


def judged_images(index: Index) -> Index:
    """The validation images, or where they do not suffice those that are learned from; never test
    images: the best weights are chosen by these.
    """
    kept = replace(index, samples=tuple(s for s in index.held_out if s.split == VAL))
    return kept if min(map(len, kept.members)) >= FEWEST else index


class Judge:
    """Judges a generator on fixed images with fixed noise."""

    def __init__(
        self,
        config: Config,
        batches: Batches,
        *,
        device: torch.device,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Args: the settings, the training's batches, whose images serve where there are no others,
        where to compute, and who is told where so many at once do not fit into memory.
        """
        index = batches.images.index
        self._index = judged_images(index)
        self._batches = batches if self._index is index else make_batches(config, self._index)
        self._portions = Portions(config.training.batch_size, "images to judge", say)
        self._device = device

    @torch.no_grad()
    def __call__(self, generator: Generator, critic: Critic) -> dict[str, float]:
        """The measures, without ``kid_share`` where normal images and defects are no distance apart
        to the critic.
        """
        normal = self._images(0)
        plain = self._features(critic, normal)
        ours, none, confirmed, agreed = [], [], [], []
        for k in range(1, len(self._index.classes)):
            painted, masks = self._paint(generator, normal, k)
            _, back = self._paint(generator, painted, 0)
            real = self._features(critic, self._images(k))
            fake = self._features(critic, painted)
            if len(real) > 1 and len(fake) > 1:
                ours.append(kernel_distance(fake, real))
                none.append(kernel_distance(plain, real))
            logits = self._each(critic.classify, painted)
            confirmed.append((logits.argmax(1) == k).float().mean())
            agreed.append(agreement(masks, back))
        measures = {
            "confirmed": float(torch.stack(confirmed).mean()),
            "agreement": float(torch.stack(agreed).mean()),
        }
        if none and (whole := float(torch.stack(none).sum())) > 0:
            measures[SCORE] = float(torch.stack(ours).sum()) / whole
        return measures

    def _images(self, k: int) -> Tensor:
        count = min(IMAGES, len(self._index.members[k]))
        return self._batches.fixed(k, count).to(self._device, memory_format=torch.channels_last)

    def _features(self, critic: Critic, images: Tensor) -> Tensor:
        return self._each(critic.features, images)

    def _each(self, read: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """What a network reads of each image."""
        return torch.cat(self._portions(len(images), lambda part: read(images[part])))

    def _paint(self, generator: Generator, images: Tensor, k: int) -> tuple[Tensor, Tensor]:
        rng = torch.Generator(self._device).manual_seed(k)
        return paint_class(generator, images, k, rng, portions=self._portions)
