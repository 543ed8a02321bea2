"""A headless Chromium that opens a page, and gives back the document as its scripts have left it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
NARROWEST_WINDOW = 500
"""Chromium has no narrower window; a frame inside of it can be."""
FRAME = """<!doctype html><meta name="color-scheme" content="light dark">
<iframe src="page.html" width="WIDTH" height="900" style="border: 0"></iframe><template></template>
<script>addEventListener('message', ({ data }) => {
  Object.assign(document.documentElement.dataset, data.noted);
  document.querySelector('template').innerHTML = data.html;
});</script>"""
TELL = """parent.postMessage({
  noted: { ...document.documentElement.dataset }, html: document.documentElement.outerHTML
}, '*');"""


def browse(page: str, folder: Path, *, then: str = "", width: int = 1280, dark: bool = False) -> str:
    """Opens a page; errors on its console and violations of its security policy fail the test.

    Args:
        page: HTML.
        folder: Where to put it.
        then: One more script, which runs last.
        width: Of the screen.
        dark: Whether the reader prefers a dark page.

    Returns:
        The document after all scripts.
    """
    assert CHROMIUM is not None, "the caller has skipped"
    probe = (
        "<script>window.onerror = (message) => { document.documentElement.dataset.error = message; };"
        "document.addEventListener('securitypolicyviolation', (e) => {"
        " document.documentElement.dataset.error = e.violatedDirective; });</script>"
    )
    page = page.replace("<body>", f"<body>{probe}").replace("</body>", f"<script>{then}</script></body>")
    file = folder / "page.html"
    file.write_text(page, encoding="utf-8")
    if width < NARROWEST_WINDOW:
        file.write_text(page.replace("</body>", f"<script>{TELL}</script></body>"), encoding="utf-8")
        file = folder / "frame.html"
        file.write_text(FRAME.replace("WIDTH", str(width)), encoding="utf-8")
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
    ]
    options += [
        f"--user-data-dir={folder / 'profile'}",
        "--virtual-time-budget=2000",
        f"--window-size={width},900",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
    ]
    done = subprocess.run(
        [CHROMIUM, *options, "--enable-logging=stderr", "--dump-dom", file.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert not re.findall(r"CONSOLE.*", done.stderr)
    assert "data-error" not in done.stdout.split(">", 2)[1]
    return done.stdout
