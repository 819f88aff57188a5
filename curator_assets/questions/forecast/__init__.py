"""What a refresh will cost, before it is run."""
