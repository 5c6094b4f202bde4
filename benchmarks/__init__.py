"""Benchmarks: ``make bench``. Each figure is measured in the same run as the figure of a peer."""
