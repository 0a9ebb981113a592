"""How an extra is had, in one wording for messages: Hornbeam is on no package index."""


def how_to_get(*extras: str) -> str:
    """The command that installs these extras."""
    return f"in the clone of Hornbeam: pip install -e '.[{','.join(extras)}]'"
