"""From embeddings to what is removed."""
