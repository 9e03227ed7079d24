"""Ratios against floors measured in the same run; ``python -m benchmarks``, never a test."""
