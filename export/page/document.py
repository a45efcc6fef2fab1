"""A page from its sections: landmarks, a way to skip to the content, style and script inside."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from xml.etree import ElementTree as ET

from export.page.elements import Node, el, to_html


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a page.

    Attributes:
        name: Its heading.
        content: What stands below.
    """

    name: str
    content: Sequence[Node]

    @property
    def anchor(self) -> str:
        """What links to it are made of."""
        return self.name.lower().replace(" ", "-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Everything on a page.

    Attributes:
        kind: What it is about: ``Latency table``, ``Search`` or ``Deployment``.
        title: Which one.
        lead: What matters most, in a sentence or two.
        warning: What must be read before any figure; empty: nothing.
        verdict: One word in a colour of its own; empty: none.
        tiles: Figures to see first: what, to how much.
        sections: From top to bottom; those without content are left out.
    """

    kind: str
    title: str
    lead: str
    warning: str = ""
    verdict: str = ""
    tiles: Mapping[str, str]
    sections: Sequence[Section]

    def as_html(self) -> str:
        """Return the whole file; the same page is the same text."""
        style, script = (_asset(name) for name in ("page.css", "page.js"))
        shown = self.shown
        html = el(
            "html",
            {"lang": "en"},
            _head(f"{self.title} - {self.kind} - latkit", style, script),
            el(
                "body",
                None,
                el("a", {"class": "skip", "href": "#content"}, "Skip to the content"),
                self._header(),
                _contents(shown),
                el("main", {"id": "content", "tabindex": "-1"}, *map(_section, shown)),
                _footer(),
                el("div", {"id": "tip", "hidden": "", "aria-hidden": "true"}),
                el("script", None, script),
            ),
        )
        return f"<!DOCTYPE html>\n{to_html(html)}\n"

    @property
    def shown(self) -> list[Section]:
        """The sections that have content."""
        return [section for section in self.sections if section.content]

    def _header(self) -> ET.Element:
        tiles = [
            el("div", None, el("dt", None, name), el("dd", None, value))
            for name, value in self.tiles.items()
        ]
        verdict = self.verdict and el("span", {"class": f"verdict {self.verdict}"}, self.verdict)
        return el(
            "header",
            None,
            el("p", {"class": "kind"}, self.kind),
            el("h1", None, self.title, " ", verdict),
            el("p", {"class": "lead"}, self.lead),
            el("p", {"class": "warning", "role": "note"}, self.warning) if self.warning else None,
            el("dl", {"class": "tiles"}, *tiles),
        )


def _head(title: str, style: str, script: str) -> ET.Element:
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_sha256(style)}'; "
        f"script-src '{_sha256(script)}'; base-uri 'none'; form-action 'none'"
    )
    return el(
        "head",
        None,
        el("meta", {"charset": "utf-8"}),
        el("meta", {"http-equiv": "Content-Security-Policy", "content": policy}),
        el("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        el("meta", {"name": "color-scheme", "content": "light dark"}),
        el("link", {"rel": "icon", "href": "data:,"}),
        el("title", None, title),
        el("style", None, style),
    )


def _contents(sections: Sequence[Section]) -> ET.Element:
    links = [
        el("li", None, el("a", {"href": f"#{section.anchor}"}, section.name))
        for section in sections
    ]
    return el("nav", {"aria-label": "Contents"}, el("ul", None, *links))


def _section(section: Section) -> ET.Element:
    title = f"{section.anchor}-title"
    return el(
        "section",
        {"id": section.anchor, "aria-labelledby": title},
        el("h2", {"id": title}, section.name),
        *section.content,
    )


def _footer() -> ET.Element:
    said = "Made by latkit report. Point at a mark, tap it, or go to a chart with Tab and through "
    return el("footer", None, el("p", None, said + "its marks with the arrow keys."))


def _asset(name: str) -> str:
    return files("export.page").joinpath(name).read_text(encoding="utf-8").strip()


def _sha256(text: str) -> str:
    """Return what a content security policy knows an inline style or script by."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
