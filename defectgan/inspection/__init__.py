"""Inspection of masks.

targets     what a path means: a run, a generated set, real images to try a model on
subjects    the images of a target with their masks
measure     numbers of a mask; ranking and against: with true masks; baseline: without a model
flags       what is wrong at a glance, and whether too many are
tally       all of it by class and direction
calibrate   the mask threshold by true masks
run         one inspection; report (HTML) and sheet (PNG) are what a person looks at
"""
