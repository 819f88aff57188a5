"""Makes partitions of declared stages, and keeps what was made from what."""
