"""From tars to embeddings."""
