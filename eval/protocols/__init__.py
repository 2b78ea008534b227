"""The benchmarks, one module each: MT-Bench and Arena-Hard by their own protocols, and checkable prompts.

MT-Bench: Zheng et al. 2023 (arXiv 2306.05685) and FastChat's `llm_judge`: 80 questions of two turns in
eight categories, graded or compared. Arena-Hard: Li et al. 2024 (arXiv 2406.11939) and arena-hard-auto:
hard prompts, each answer judged against a baseline's in two games. Checkable prompts need no judge.
"""
