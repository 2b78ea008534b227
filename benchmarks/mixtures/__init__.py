"""Evidence for mixtures of prompts on tasks with checkable answers."""
