import pytest
import torch

from defectgan.inspection.poses import Pose, learned_poses
from defectgan.settings.data import AugmentConfig


@pytest.mark.parametrize(
    ("flip", "rotate", "square", "count"),
    [
        (True, True, True, 8),
        (True, True, False, 4),
        (True, False, True, 4),
        (False, True, True, 4),
        (False, True, False, 1),
        (False, False, True, 1),
    ],
)
def test_there_are_as_many_poses_as_the_training_draws(
    flip: bool, rotate: bool, square: bool, count: int
) -> None:
    poses = learned_poses(AugmentConfig(flip=flip, rotate=rotate), square=square)
    image = torch.arange(16.0 if square else 24.0).reshape(1, 1, 4, -1)
    seen = {tuple(pose.take(image).flatten().tolist()) for pose in poses}
    assert len(poses) == len(seen) == count
    assert torch.equal(poses[0].take(image), image)
    assert all(pose.take(image).shape == image.shape for pose in poses)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turns", range(4))
def test_a_pose_that_is_left_again_changes_nothing(mirrored: bool, turns: int) -> None:
    pose, image = Pose(mirrored, turns), torch.rand(2, 3, 4, 6)
    assert torch.equal(pose.leave(pose.take(image)), image)
