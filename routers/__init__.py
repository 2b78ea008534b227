"""The decision: which category a request belongs to and which expert should answer it.

Knows nothing of HTTP, databases, or how an expert is called.
"""
