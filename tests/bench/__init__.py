"""Benchmarks: ratios to something measured in the same run, never a timed test."""
