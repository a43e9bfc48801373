"""A page of the repository as a part of a page of the site: laid out, and unable to do anything.

markdown-it's strict preset: HTML in the text is text, pictures are links, and of links only those of https stay, and
those into the repository where its address is known.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from leaderboard.web.page import mark_options

COMMENT = re.compile(r"^<!--.*?-->\n?", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"<code[^>]*>.*?</code>", re.DOTALL)
SCROLLED = '<div class="scroll" tabindex="0" role="region" aria-label="Table">\n<table>\n'


def lay_out(text: str, folder: str, repository: str) -> Markup:
    """The text's HTML, without its first title and its comments, its headings one level lower.

    folder: where the text lies in the repository, as `methods/sam_net`. repository: its address, or "".
    """
    reader = MarkdownIt("js-default").disable("image")
    tokens = reader.parse(COMMENT.sub("", text))
    if tokens and tokens[0].tag == "h1":
        tokens = tokens[3:]  # opened, its words, closed
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1:]) + 1)}"
        if token.children:
            token.children = point_links(token.children, folder, repository)
    html = reader.renderer.render(tokens, reader.options, {})
    html = CODE.sub(lambda found: mark_options(Markup(found[0])), html)
    return Markup(html.replace("<table>\n", SCROLLED).replace("</table>", "</table></div>"))


def point_links(tokens: Sequence[Token], folder: str, repository: str) -> list[Token]:
    """The words of a paragraph, with the links that lead somewhere from the site; of others the words alone."""
    kept, open_links = [], []
    for token in tokens:
        if token.type == "link_open":
            address = find_address(str(token.attrGet("href") or ""), folder, repository)
            open_links.append(bool(address))
            token.attrs = {"href": address, "rel": "noopener noreferrer"}
        if token.type == "link_open" and not open_links[-1]:
            continue
        if token.type == "link_close" and not open_links.pop():
            continue
        kept.append(token)
    return kept


def find_address(target: str, folder: str, repository: str) -> str:
    """Where a link leads from the site; "" for nowhere."""
    if target.startswith("https://"):
        return target
    place = posixpath.normpath(posixpath.join(folder, target.partition("#")[0]))
    inside = target and not target.startswith(("#", "/")) and ":" not in target and not place.startswith("..")
    return f"{repository}/blob/main/{place}" if repository and inside else ""
