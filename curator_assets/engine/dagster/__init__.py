"""The engine in Dagster's terms: assets, events, the job, the instance's partitions."""
