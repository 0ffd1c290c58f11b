"""Which weights of a training are the best."""

from defectgan.metrics.kernel import Estimate


class Best:
    """Chooses by shares: the latest one that is not clearly above the lowest so far.

    Among shares that cannot be told apart, more training decides instead of luck.
    """

    def __init__(self, lowest: Estimate | None = None) -> None:
        """Args: the lowest of those that were there before."""
        self.lowest = lowest

    def takes(self, now: Estimate) -> bool:
        """Whether this one is the best from now on."""
        lowest = self.lowest
        if lowest is None or now.value < lowest.value:
            self.lowest = now
            return True
        return not now.less(lowest).clear
