"""Weights: which there are, where they lie, how they load, and what identifies them."""
