"""The path of a chat request: parsing, routing, answering, prompts in front, shadow answers, records.

Knows nothing of the web framework, of the command line, or of strategies of several experts.
"""
