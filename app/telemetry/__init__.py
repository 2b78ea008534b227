"""What operators see: metrics, logs and request ids. Never the text of a prompt, never a secret."""
