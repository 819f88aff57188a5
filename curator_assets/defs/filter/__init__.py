"""Scores, and the rules on them."""
