"""Damaged tars, or damaged images in good tars, through the real refresh: what is lost, what dies?

    python benchmarks/fuzz.py --tars 3000 --seed 0
    python benchmarks/fuzz.py --images 5000 --seed 0

The exit status says whether anything was lost, changed, hung or died.
"""

from __future__ import annotations

import argparse
import sys

import fuzz_images
import fuzz_tars


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--tars", type=int, default=3000)
    what.add_argument("--images", type=int)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.images is not None:
        return fuzz_images.run(arguments.images, arguments.seed)
    return fuzz_tars.run(arguments.tars, arguments.seed)


if __name__ == "__main__":
    sys.exit(main())
