"""Prompts: the template library, expert identities, mixtures of prompts, categories and seed prompts.

Knows nothing of HTTP servers or databases.
"""
