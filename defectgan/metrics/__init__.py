"""Pure functions from predictions to figures: no images, no networks, no files."""
