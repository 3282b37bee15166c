"""A page as tests read it."""

import re
from html.parser import HTMLParser
from pathlib import Path


class Page(HTMLParser):
    """Collects tags with their attributes, and the text outside of style sheets."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags, self.text, self.style = [], "", False
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.style = tag == "style"

    def handle_endtag(self, tag):
        self.style = False

    def handle_data(self, data):
        typeset = {"\u00a0": " ", "\u2192": "->", "\u2212": "-"}
        self.text += "" if self.style else re.sub("[\u00a0\u2192\u2212]", lambda found: typeset[found[0]], data)

    def attributes(self, tag: str, name: str) -> list[str]:
        return [attributes.get(name, "") for found, attributes in self.tags if found == tag]


def assert_alone(page: Page):
    """Checks that a page loads and runs nothing."""
    assert not [tag for tag, _ in page.tags if tag in ("script", "iframe", "object", "embed")]
    assert page.attributes("link", "href") == ["data:,"]
    text = re.sub(r"base64,[^\"]*", "", page.source)
    assert not re.search(r"https?:|@import|url\(|(src|srcset)\s*=\s*[\"'](?!data:)", text)
    assert not re.search(r"\son\w+\s*=", text)
