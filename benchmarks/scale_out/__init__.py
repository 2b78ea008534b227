"""A plan past what can be measured here: `python -m benchmarks.scale_out` simulates a fleet of GPUs."""
