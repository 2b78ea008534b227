"""Sweeps: many configurations of routing on the same prompts, resumable, kept in a database."""
