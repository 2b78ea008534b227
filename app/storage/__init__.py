"""Decisions and feedback in a database. Knows nothing of HTTP, routing or experts."""
