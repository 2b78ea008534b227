"""Benchmarks, one module each: MT-Bench, Arena-Hard and checkable prompts.

MT-Bench: Zheng et al. 2023 (arXiv 2306.05685) and FastChat's `llm_judge`: 80 two-turn
questions in eight categories, graded or pairwise. Arena-Hard: Li et al. 2024 (arXiv 2406.11939) and
arena-hard-auto: each answer is judged against a baseline's in two games. Checkable prompts need no judge.
"""
