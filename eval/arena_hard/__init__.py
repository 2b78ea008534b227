"""Arena-Hard by its own protocol: hard prompts, each answer judged against a baseline's in two games.

Li et al. 2024, "From Crowdsourced Data to High-Quality Benchmarks: Arena-Hard and BenchBuilder Pipeline"
(arXiv 2406.11939), and arena-hard-auto.
"""
