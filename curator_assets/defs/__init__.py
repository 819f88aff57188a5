"""One declaration a stage, grouped by what it is for; `stages` reads as the pipeline."""
