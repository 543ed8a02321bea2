"""terminal_text: text that a model wrote, on a terminal that would obey its control characters."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def visible_controls(text: str) -> str:
    """Writes control characters other than newline and tab as escapes, `\\x1b`: none moves a cursor or rings.

    Args:
        text: Any text.

    Returns:
        The text, of the same lines.
    """
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
