"""Ratings with intervals from tables of verdicts: pairwise (win, tie or loss against a baseline) and graded
(scores from 1 to 10). The bootstrap resamples questions, since verdicts on one question are dependent."""
