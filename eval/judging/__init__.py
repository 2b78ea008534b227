"""LLM judges: prompts, judgments, and checks of their reliability."""
