"""Values in messages, shortened: they may come from anyone."""

from __future__ import annotations

MOST_CHARACTERS = 200


def shortened(value: object, most: int = MOST_CHARACTERS) -> str:
    """Return the value as text of at most `most` characters, with its length if it is cut.

    >>> shortened("a" * 1000, most=30)
    'aaaaaaaaa... (1000 characters)'
    """
    text = str(value)
    if len(text) <= most:
        return text
    end = f"... ({len(text)} characters)"
    return text[: max(0, most - len(end))] + end
