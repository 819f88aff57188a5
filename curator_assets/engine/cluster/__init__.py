"""Stages on the machines of a Ray cluster: actors make partitions, the driver alone records."""
