"""Synthetic defect images with pixel masks for visual inspection, learned from image-level folders
(Defect-GAN).
"""

__version__ = "0.1.0"
