"""What a classifier is held to, and how sure it is.

B batch, C image channels, K classes, H x W pixels. Images lie in [-1, 1], masks in [0, 1] with
1 = defect. Every function returns an unweighted scalar: a weight stands in the method that uses the
term.
"""

from torch import Tensor
from torch.nn import functional as F


def classification(
    logits: Tensor, label: Tensor, *, multi_label: bool = False, known: Tensor | None = None
) -> Tensor:
    """Softmax cross-entropy of images that have one class each; binary cross-entropy, summed over
    the classes, where any image has several. Classes that a label does not tell of take no part:
    the gradient of their logits is exactly 0.

    Args:
        logits: [B, K].
        label: [B, K] in {0, 1}.
        multi_label: whether any image of the data has several classes.
        known: [B, K] in {0, 1}, the classes that each label tells of; None: all.

    Source: of ``known``, Choi et al., "StarGAN", CVPR 2018, section 3.2.
    """
    label = label.to(logits.dtype)
    if multi_label:
        each = F.binary_cross_entropy_with_logits(logits, label, reduction="none")
        return (each if known is None else each * known).sum(1).mean()
    if known is None:
        return F.cross_entropy(logits, label)
    # What is masked has a logarithm of -inf, which must not meet the 0 of its label.
    logs = among(logits, known).log_softmax(1).masked_fill(known == 0, 0)
    return -(logs * label).sum(1).mean()


def among(logits: Tensor, known: Tensor) -> Tensor:
    """Logits [B, K] of the classes ``known`` [B, K] in {0, 1}; others are out of the question."""
    return logits.masked_fill(known == 0, float("-inf"))


def probability(
    logits: Tensor, label: Tensor, *, multi_label: bool = False, known: Tensor | None = None
) -> Tensor:
    """How probable the classes of a label are, [B] in [0, 1], among those ``known``, None: all; the
    mean over them where an image has several.
    """
    logits = logits if known is None else among(logits, known)
    each = logits.sigmoid() if multi_label else logits.softmax(1)
    return (each * label).sum(1) / label.sum(1)
