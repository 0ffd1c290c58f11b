"""What a classifier is held to, and how sure it is.

B batch, C image channels, K classes, H x W pixels. Images lie in [-1, 1], masks in [0, 1] with
1 = defect. Every function returns an unweighted scalar: a weight stands in the method that uses the
term.
"""

from torch import Tensor
from torch.nn import functional as F


def classification(logits: Tensor, label: Tensor, *, multi_label: bool = False) -> Tensor:
    """Softmax cross-entropy of images that have one class each; binary cross-entropy, summed over
    the classes, where any image has several.

    Args:
        logits: [B, K].
        label: [B, K] in {0, 1}.
        multi_label: whether any image of the data has several classes.
    """
    label = label.to(logits.dtype)
    if multi_label:
        return F.binary_cross_entropy_with_logits(logits, label, reduction="none").sum(1).mean()
    return F.cross_entropy(logits, label)


def probability(logits: Tensor, label: Tensor, *, multi_label: bool = False) -> Tensor:
    """How probable the classes of a label are, [B] in [0, 1]; the mean over them where an image has
    several.
    """
    each = logits.sigmoid() if multi_label else logits.softmax(1)
    return (each * label).sum(1) / label.sum(1)
