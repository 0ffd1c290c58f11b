"""Do the generated images serve: how near they are to real ones, and whether a classifier gains."""
