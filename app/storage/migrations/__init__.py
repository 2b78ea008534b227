"""Alembic's migrations, oldest first by number."""
