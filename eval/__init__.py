"""Measuring: checks, scoring of live experts, replay, reports. A client of the service.

Import from its modules (`from eval.checks import score`); a bare `import eval` hides the builtin.
"""
