"""What mkdocs asks while it builds the site: its first page is README.md, and options are no links."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Text of a page as the site needs it.

    That of the first page is README.md with its links seen from here. `[--data DIR] [--json]` in a heading
    would be taken for a link, so its brackets are escaped.
    """
    if page.file.src_uri == "index.md":
        readme = Path(config.config_file_path).parent / "README.md"
        markdown = readme.read_text(encoding="utf-8").replace("](docs/", "](")
    return re.sub(r"(?m)^#+ .*$", lambda heading: heading[0].replace("[-", r"\[-"), markdown)
