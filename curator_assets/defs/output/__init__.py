"""What comes out, and the report on it."""
