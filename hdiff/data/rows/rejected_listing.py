"""RejectedListing: rows of a stream that hold no text, each listed once. No torch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import final

from hdiff.data.sources.rejected import Rejected

MAX_LISTED = 100_000
"""Rows beyond are counted, but not listed."""


@final
class RejectedListing:
    """Appends rows to a file as they are met. A resumed run and later epochs list none of them again.

    Args:
        path: The file, JSON lines as of `hdiff prepare`; None lists nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._known: set[bytes] | None = None

    def add(self, row: Rejected) -> None:
        """Lists a row, unless it is there."""
        if self.path is None:
            return
        if self._known is None:
            lines = self.path.read_bytes().splitlines() if self.path.is_file() else []
            self._known = {hashlib.sha256(line).digest() for line in lines}
        line = json.dumps({"place": row.place, "text": row.text[:1_000], "reason": row.reason}).encode()
        digest = hashlib.sha256(line).digest()
        if digest in self._known or len(self._known) >= MAX_LISTED:
            return
        self._known.add(digest)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(line + b"\n")
