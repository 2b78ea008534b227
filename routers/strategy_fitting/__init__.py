"""From an outcome table with answers to strategies: trials of policies, and what each is worth."""
