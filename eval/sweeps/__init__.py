"""Sweeps: many configurations on the same prompts, resumable, stored in a database."""
