"""What is said to a model before the request: seed prompts of each category, prompt experts.

Knows nothing of HTTP servers or databases.
"""
