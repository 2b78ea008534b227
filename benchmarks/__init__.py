"""Reproducible benchmarks; each is a module with a `main`."""
