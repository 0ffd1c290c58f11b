"""What metrics take and give."""

import numpy as np
from numpy.typing import NDArray

# One number or many, of any shape.
Figures = NDArray[np.float64]
# Opacities [H, W] in [0, 1], and the pixels [H, W] that are sought or found.
Mask = NDArray[np.float32]
Region = NDArray[np.bool_]
