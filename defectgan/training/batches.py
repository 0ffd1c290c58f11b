"""The batches of a training."""

from collections.abc import Collection
from pathlib import Path

from defectgan.data.dataset import Batches, ImageSet
from defectgan.data.index import Index
from defectgan.methods.config import Config


def make_batches(
    config: Config,
    index: Index,
    *,
    folder: Path | None = None,
    rows: slice = slice(None),
    truths: bool = False,
    drawn: Collection[int] = (),
) -> Batches:
    """The batches of a training with these settings.

    Args:
        config: the settings.
        index: the images.
        folder: where on the disk they may be kept, if anywhere.
        rows: which rows of each half of a batch are made.
        truths: whether true masks are in them.
        drawn: the parts of a step that have drawn defects.
    """
    training = config.training
    return Batches(
        ImageSet(index, config.data, folder=folder, truths=truths),
        batch_size=training.batch_size,
        augment=config.augment,
        seed=training.seed,
        rows=rows,
        drawn=drawn,
    )
