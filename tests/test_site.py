"""The documentation builds into a site: strictly, with every page, link and anchor, and without a network."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from browser import CHROMIUM, browse

CHECKOUT = Path(__file__).resolve().parents[1]
LOADING = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}
"""Elements that a browser loads something for, and where from."""

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mkdocs") is None or importlib.util.find_spec("mkdocstrings") is None,
    reason="the site needs mkdocs-material and mkdocstrings: make docs, or pip install '.[docs]'",
)


class Page(HTMLParser):
    """Links, loaded addresses and anchors of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag in LOADING and LOADING[tag] in values and values.get("rel") != "canonical":
            self.loaded.append(values[LOADING[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    # Not --quiet: it drops the warnings that --strict counts.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(
        command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=1200, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {file: Page(file.read_text(encoding="utf-8")) for file in sorted(site.rglob("*.html"))}


@pytest.mark.slow
def test_every_markdown_page_is_built_and_the_first_is_the_readme(site: Path) -> None:
    for source in (CHECKOUT / "docs").rglob("*.md"):
        assert (site / source.relative_to(CHECKOUT / "docs")).with_suffix(".html").is_file(), source
    assert "make demo" in (site / "index.html").read_text(encoding="utf-8")
    assert not list(site.rglob("*.py"))


@pytest.mark.slow
def test_links_and_anchors_of_the_site_lead_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    for file, page in pages.items():
        for link in [*page.links, *page.loaded]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            # The page of errors is served from anywhere, so its links begin at the root.
            root = site if parts.path.startswith("/") else file.parent
            target = (root / unquote(parts.path).lstrip("/")).resolve() if parts.path else file
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), (file.relative_to(site), link)
            if parts.fragment and target.suffix == ".html" and not parts.fragment.startswith("__"):
                assert unquote(parts.fragment) in pages[target].anchors, (file.relative_to(site), link)


@pytest.mark.slow
def test_pages_load_nothing_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    for file, page in pages.items():
        foreign = [address for address in page.loaded if urlsplit(address).netloc]
        assert not foreign, (file.relative_to(site), foreign)
    for style in site.rglob("*.css"):
        assert not re.findall(r"url\(['\"]?(?:https?:)?//", style.read_text(encoding="utf-8")), style


@pytest.mark.slow
def test_the_reference_shows_docstrings(site: Path) -> None:
    text = (site / "reference" / "corruption.html").read_text(encoding="utf-8")
    assert "Corrupts every row to its time" in text
    assert 'id="hdiff.corruption.base.Corruption.corrupt"' in text


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_formulas_are_rendered_without_a_network(site: Path, tmp_path: Path) -> None:
    page = (site / "concepts.html").read_text(encoding="utf-8")
    formulas = page.count('class="arithmatex"')
    assert formulas > 100
    assert "$$" not in page
    # KaTeX alone: scripts of the theme fetch, which no page does that is opened as a file.
    page = re.sub(r"<script(?![^>]*katex)[^>]*>.*?</script>", "", page, flags=re.DOTALL)
    shutil.copytree(site / "katex", tmp_path / "katex")
    document = browse(page, tmp_path)
    assert document.count('<span class="katex">') == formulas
    assert "katex-error" not in document


def test_the_navigation_names_every_page() -> None:
    text = (CHECKOUT / "mkdocs.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"[\w/-]+\.md", str(yaml.safe_load(text)["nav"])))
    docs = CHECKOUT / "docs"
    assert {page.relative_to(docs).as_posix() for page in docs.rglob("*.md")} == named
