"""Processes that do what may kill a process, and those that watch over them."""
