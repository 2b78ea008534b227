"""The HTTP routes: OpenAI's shapes in and out. Knows nothing of how an answer is found."""
