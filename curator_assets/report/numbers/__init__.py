"""What the report counts: its tables and headline numbers, and the pairs that people mark."""
