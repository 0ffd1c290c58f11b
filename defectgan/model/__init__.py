"""Trained models: what a weights file is, and what builds the networks that it fills."""
