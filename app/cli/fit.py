def fit() -> None:
    """Fit."""
