"""Training: the method (step), the run around it (loop), what is kept (checkpoint) and watched
(monitor).
"""

from typing import TYPE_CHECKING

from defectgan.lazy import front_door

if TYPE_CHECKING:
    from defectgan.training.job import Job as Job
    from defectgan.training.job import resumed_job as resumed_job
    from defectgan.training.watch import Unwatched as Unwatched
    from defectgan.training.watch import Watcher as Watcher
else:
    __getattr__ = front_door(
        __name__,
        {
            "Job": "defectgan.training.job",
            "Unwatched": "defectgan.training.watch",
            "Watcher": "defectgan.training.watch",
            "resumed_job": "defectgan.training.job",
        },
    )

__all__ = ["TIMED_STEPS", "Job", "Unwatched", "Watcher", "resumed_job"]

# Steps after which the speed is known well enough to say how long the rest takes: of so many a
# training waits for the device, so that its own time is measured.
TIMED_STEPS = 5
