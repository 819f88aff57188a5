"""Tars in and out."""
