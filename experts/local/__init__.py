"""Experts that run on this machine: models fetched and converted, vLLM servers supervised."""
