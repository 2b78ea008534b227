"""Models: the registry, the client, health checks, local vLLM servers and the fake expert.

Knows nothing of categories or databases.
"""
