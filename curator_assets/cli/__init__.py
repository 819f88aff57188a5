"""`curate`: the command line."""
