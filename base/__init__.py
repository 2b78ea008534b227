"""The ground floor: what every package may import. Imports nothing of the project.

Each module is named after what it holds. Knows nothing of routing, experts, prompts or HTTP routes.
"""
