"""What a person needs to trust what was removed: numbers, charts and pictures, without Dagster."""
