"""Image files and rows of Parquet become the samples of new shards, byte for byte."""
