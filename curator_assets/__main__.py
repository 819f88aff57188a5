"""`python -m curator_assets` is `curate`."""

from curator_assets.cli.main import curate

if __name__ == "__main__":
    curate(prog_name="python -m curator_assets")
