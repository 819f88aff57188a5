"""Image-dataset curation as Dagster assets."""
