"""What one can ask of what is stored; nothing is written, and Dagster is not needed."""
