"""Talking to models: the registry, the client, health, local vLLM processes and the shipped fake.

Knows nothing of categories or databases.
"""
