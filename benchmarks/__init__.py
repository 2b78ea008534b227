"""Benchmarks that anyone can run again; each is a module with a `main`."""
