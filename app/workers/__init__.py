"""Several processes that serve as one: the supervising parent, its workers, and how they talk."""
