"""Generation: what to make (plan), how (run, layer) and where to (writers)."""
