"""Residency of experts that do not all fit into memory: who is loaded, who gives way, who is loaded in
advance."""
