"""What to say about a name that is not known: the known names that look like it, or which there are."""

from collections.abc import Collection, Iterable

MOST_LISTED = 20


def close_names(name: str, known: Iterable[str], *, most: int = 3, likeness: float = 0.6) -> list[str]:
    """The `known` names like `name`, the likest first. `likeness` is difflib's ratio, 0..1."""
    import difflib

    return difflib.get_close_matches(name, list(known), n=most, cutoff=likeness)


def suggestion(name: str, known: Collection[str], *, likeness: float = 0.6) -> str:
    """The end of a message about an unknown name: `did you mean a or b?`, or `known: a, b, c`."""
    close = close_names(name, known, likeness=likeness)
    return f"did you mean {' or '.join(close)}?" if close else f"known: {listed(known)}"


def listed(names: Collection[str]) -> str:
    """The first of `names` in a row, with `…` when there are more; `none` without any."""
    shown = list(names)[:MOST_LISTED]
    return ", ".join(shown) + (", …" if len(names) > len(shown) else "") or "none"
