"""Dialects: forms of one optimizer under one name, where libraries and papers disagree."""


def check_dialect(dialect: str, *known: str) -> None:
    """Refuse a dialect that there is none of.

    Raises:
      ValueError: it is none of the known ones.
    """
    if dialect not in known:
        raise ValueError(f"expected a dialect of {', '.join(map(repr, known))}, got {dialect!r}")
