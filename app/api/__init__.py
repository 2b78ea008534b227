"""The HTTP routes: requests of every dialect in, responses out. Knows nothing of how an answer is found."""
