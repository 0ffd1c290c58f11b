"""Training: the method (step), the run around it (loop), what is kept (checkpoint) and watched
(monitor).
"""

# Steps after which the speed is known well enough to say how long the rest takes: of so many a
# training waits for the device, so that its own time is measured.
TIMED_STEPS = 5
