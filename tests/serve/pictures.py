"""Takes the pictures of docs/sample.md: python tests/serve/pictures.py http://127.0.0.1:8000/ docs/images"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from serve.devtools import Chromium

TEXT = "The value of the attribute is the name of the class in which the method was defined."
SEED = 9
"""Its units are phrases of the tree, in the run that the page tells of."""


def fill(browser: Chromium, panel: str, at: int, **fields: object) -> None:
    """Fills in the form of a panel, asks, and moves its slider."""
    for name, value in fields.items():
        browser.evaluate(f"document.getElementById('{panel}-{name}').value = {str(value)!r}")
    browser.evaluate(f"document.querySelector('#{panel} form').requestSubmit()")
    browser.wait_for(f"!document.querySelector('#{panel}').hasAttribute('aria-busy')")
    slider = f"document.querySelector('#{panel} input[type=range]')"
    browser.evaluate(f"{slider}.value = {at}; {slider}.dispatchEvent(new Event('input'))")


def take(address: str, folder: Path) -> None:
    """Writes both pictures."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Chromium(Path(profile))
        try:
            for panel, dark in (("corrupt", False), ("restore", True)):
                browser.show(address, width=1000, height=800, dark=dark)
                browser.wait_for("document.querySelector('#corrupt .tok')")
                browser.evaluate(f"document.getElementById('tab-{panel}').click()")
                if panel == "corrupt":
                    fill(browser, panel, 45, text=TEXT, seed=SEED)
                else:
                    fill(browser, panel, 1, text=TEXT, seed=SEED, t=0.6, samples=2)
                (folder / f"serve_{panel}.png").write_bytes(browser.picture(whole=True))
        finally:
            browser.close()


if __name__ == "__main__":
    take(sys.argv[1], Path(sys.argv[2]))
