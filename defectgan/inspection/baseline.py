"""What finds defects without any learning: local contrast, cut by Otsu's rule.

A restoration mask that does not beat this has learned nothing about where defects lie.
"""

import cv2
import numpy as np

from defectgan.inspection.subject import Mask, Pixels

# The neighbourhood that a pixel is compared with, in shares of the shorter side; and the blur, in
# pixels, that keeps single pixels of noise from counting.
NEIGHBOURHOOD = 0.25
BLUR = 1.0


def local_contrast(image: Pixels) -> Mask:
    """How far each pixel [H, W] lies from the mean round it, 0 to 1; of an image [H, W, C] the
    channel where that is most.
    """
    size = max(3, round(min(image.shape[:2]) * NEIGHBOURHOOD)) | 1
    values = image.astype(np.float32) / 255
    around = cv2.blur(values, (size, size)).reshape(values.shape)
    contrast = np.abs(values - around).max(axis=2)
    return np.asarray(cv2.GaussianBlur(contrast, (0, 0), BLUR), dtype=np.float32)


def otsu(scores: Mask) -> float:
    """The threshold that tells scores in [0, 1] best into two groups (Otsu, 1979), to 1/255."""
    levels = (scores * 255).round().astype(np.uint8)
    threshold, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return float(threshold) / 255
