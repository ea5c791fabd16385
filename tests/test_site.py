"""The site: pages have their places, those of reference are what the code says, links lead somewhere, all is local."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from benchmarks import reference

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SETTINGS = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


def leaves(tree: object) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    else:
        for each in tree.values() if isinstance(tree, dict) else tree:
            yield from leaves(each)


def test_every_page_stands_once_in_the_navigation():
    pages = sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))
    assert sorted(leaves(SETTINGS["nav"])) == pages, "nav of mkdocs.yml: add the page where a reader looks for it"


def test_mkdocs_material_reads_the_same_file():
    """Nothing in it that zensical alone knows; both names are those of Material for MkDocs."""
    assert SETTINGS["theme"]["name"] == "material"
    assert set(SETTINGS["plugins"]) <= {"search", "offline"}
    assert "zensical" not in str({key: value for key, value in SETTINGS.items() if key != "nav"})


@pytest.mark.parametrize("name", reference.MADE)
def test_a_reference_page_is_what_the_code_says(name):
    page = (reference.PAGES / f"{name}.md").read_text(encoding="utf-8")
    assert page == reference.page(name), "the page is stale: run python benchmarks/reference.py"


class Page(HTMLParser):
    """Where a page leads, what it can be led to, and its pictures."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.anchors: set[str] = set()
        self.pictures: list[str | None] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {given[key] for key in ("id", "name") if given.get(key)}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag == "img":
            self.pictures.append(given.get("alt"))
        self.fetched += [given[key] for key in ("src", "href") if given.get(key) and tag in ("script", "link", "img")]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> dict[Path, Page]:
    """The site as `make docs` builds it, but for the pages of reference, which other tests compare."""
    folder = tmp_path_factory.mktemp("site").resolve()
    (folder / "mkdocs.yml").write_bytes((ROOT / "mkdocs.yml").read_bytes())
    shutil.copytree(DOCS, folder / "docs")
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    recipe = (ROOT / "Makefile").read_text().partition("zensical build --clean --strict\n\t")[2].partition("\n")[0]
    subprocess.run(["bash", "-c", recipe], cwd=folder, check=True)
    return {path: Page(path) for path in (folder / "site").rglob("*.html") if path.name != "404.html"}


def test_no_link_is_dead(site):
    dead = [
        f"{path.name}: {link}"
        for path, page in site.items()
        for link in page.links
        if not urlsplit(link).scheme and not leads(site, path, link)
    ]
    assert dead == []
    assert sum(len(page.links) for page in site.values()) > 500


def leads(site: dict[Path, Page], path: Path, link: str) -> bool:
    parts = urlsplit(link)
    aim = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    aim = aim / "index.html" if aim.is_dir() else aim
    return aim.is_file() and (not parts.fragment or aim not in site or unquote(parts.fragment) in site[aim].anchors)


def test_a_picture_has_words_for_those_who_cannot_see_it(site):
    pictures = [alt for page in site.values() for alt in page.pictures]
    assert pictures
    assert all(alt and len(alt.split()) > 3 for alt in pictures)


def test_a_reader_without_a_network_misses_nothing(site):
    root = next(path.parent for path in site if path.name == "index.html")
    foreign = {each for page in site.values() for each in page.fetched if urlsplit(each).scheme in ("http", "https")}
    assert foreign == set()
    assert "one-shot.html" in (root / "search.js").read_text(encoding="utf-8")
    assert (root / "offline.js").is_file()
