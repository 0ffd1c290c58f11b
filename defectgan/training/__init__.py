"""Training: the method (step), the run around it (loop), what is kept (checkpoint) and watched
(monitor).
"""
