"""How many candidates there are for an image, on how many sources, and which of them is kept."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command line names these numbers in its help, without torch
    from defectgan.model.file import Model

# What makes a better training set on all real sets where that was measured; images as they come
# made a worse one on DeepPCB.
CANDIDATES = 8
# The candidates of an image are painted on so many good images: its own and those that follow it
# in the lap. In each lap every good image is then a candidate equally often, and is chosen so many
# times at most.
CAP = 4


def usual_candidates(model: "Model") -> int:
    """How many candidates there are where nobody asks for a number: it takes the critic to choose
    among several.
    """
    return CANDIDATES if model.painter.has_critic else 1
