"""Follow every internal link of built pages: ``python docs/check_links.py build/docs``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """What a page links to, and the names that others may link to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.names: set[str] = {"", "top"}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take the attributes that link or are linked to."""
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.append(value)
            elif (name == "id" or (tag == "a" and name == "name")) and value:
                self.names.add(value)


def faults(folder: Path) -> Iterator[str]:
    """Yield each link that leads nowhere, or off the machine for what a page needs to be shown."""
    found = sorted(folder.resolve().rglob("*.html"))
    files = [path for path in found if "_static" not in path.parts]
    pages = {path: Page(path.read_text()) for path in files}
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            where = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            where = where / "index.html" if where.is_dir() else where
            name = path.relative_to(folder.resolve())
            if not where.exists():
                yield f"{name}: {link} is not there"
            elif where in pages and unquote(parts.fragment) not in pages[where].names:
                yield f"{name}: {link} has no such anchor"


def main(folder: str) -> int:
    """Print the faults, and return whether there are any."""
    found = list(faults(Path(folder)))
    count = len(list(Path(folder).rglob("*.html")))
    print("\n".join([*found, f"{count} pages, {len(found)} dead links"]))
    return 1 if found or not count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
