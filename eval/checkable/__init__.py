"""Benchmarks without a judge: a program checks the answers."""
