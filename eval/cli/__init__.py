"""The commands that evaluation adds to `coterie`, one module each. Thin: they read options, call, print."""
