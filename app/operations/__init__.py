"""What operators do besides serving: fit, add an expert, draw curves, plan outcomes, run a local stack.

The back ends of commands; nothing here knows the command line's options or a running service.
"""
