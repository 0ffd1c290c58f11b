"""Conditional GAN: generator and discriminator are both told the class.

    min_G max_D  E[log D(x, y)] + E[log(1 - D(G(z, y), y))]

y stands beside the noise, and as planes beside the image. Nothing classifies: what is made of a
class is held against real images said to be of the same, so an image that does not look like its
class is seen through, as one that is not real.

Source: Mirza and Osindero, "Conditional Generative Adversarial Nets", 2014.
"""

from typing import Literal

from defectgan.methods.from_noise import NoiseShape
from defectgan.methods.gan import GAN, MinimaxSettings


class Shape(NoiseShape):
    """What its networks are built from."""

    name: Literal["cgan"] = "cgan"


class Settings(Shape, MinimaxSettings):
    """And how it plays."""


class CGAN(GAN):
    """The losses are those of a GAN, of networks that are told the class."""

    Shape, Settings = Shape, Settings
    needs = "good images, and images of each defect"
    told_classes = True
