"""Judges: models that grade one answer or compare two, the prompts they are given, checks on them."""
