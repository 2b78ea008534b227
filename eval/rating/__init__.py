"""Statistics of evaluations: verdict tables in, ratings with intervals out.

Two kinds of verdict are rated: pairwise (an answer against a baseline's: win, tie, loss) and graded
(an answer's score from 1 to 10). Everything is resampled by question, since verdicts on one question
stand or fall together. Nothing here asks a model or reads a question.
"""
