"""Schemas and Parquet."""
