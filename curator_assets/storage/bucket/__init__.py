"""Objects of a store that fsspec speaks to: S3, Google Cloud Storage, Azure, and its memory."""
