"""Settings that are of no single method, and how all of them are read."""
