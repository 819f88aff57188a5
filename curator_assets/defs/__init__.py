"""One module a stage: its asset and checks."""

import warnings

import dagster as dg

# Pinned below the next minor release; without these every command prints a page of warnings.
warnings.filterwarnings("ignore", category=dg.BetaWarning, message=".*(backfill_policy|owners)")
warnings.filterwarnings("ignore", category=dg.PreviewWarning, message=".*AssetCheckSpec")
