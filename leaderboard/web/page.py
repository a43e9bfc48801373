"""One HTML page that is whole in itself: a template with its style and script in it, and nothing else allowed to run.

Style and script are allowed by their digests alone (Content-Security-Policy), so a page works from a file URL, sends no
request, and nothing that a name smuggles in can run; all content is escaped besides.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

TEMPLATES = Path(__file__).parents[1] / "templates"
BESIDE = ("img-src 'self' file:", "media-src 'self' file:")  # what lies beside the page
INSIDE = ("img-src data:",)  # pictures that stand in the page itself


def fill_page(name: str, *, assets: str = "", media: tuple[str, ...] = BESIDE, **content: Any) -> str:
    """`templates/<name>.html` with its style and script in it, and the policy that allows these two alone.

    Style and script are those of `assets`, by default of the same name. Everything of `content` is escaped. `media` is
    the policy for pictures and films: `BESIDE` or `INSIDE`. A template without a script file gets none.
    """
    assets = assets or name
    css = (TEMPLATES / "common.css").read_text(encoding="utf-8")
    css += (TEMPLATES / f"{assets}.css").read_text(encoding="utf-8")
    script = TEMPLATES / f"{assets}.js"
    js = script.read_text(encoding="utf-8") if script.is_file() else ""
    policy = "; ".join(
        (
            "default-src 'none'",
            *([f"script-src '{name_digest(js)}'"] if js else []),
            f"style-src '{name_digest(css)}'",
            *media,
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"breakable": mark_breaks, "interval": mark_interval}
    # ours, read from the package: no text from outside goes into them
    trusted = {"css": Markup(css), "js": Markup(js)}
    return environment.get_template(f"{name}.html").render(policy=policy, **trusted, **content) + "\n"


def mark_breaks(text: str) -> Markup:
    """The text, escaped, with leave to break the line after each underscore."""
    return Markup("_<wbr>").join(text.split("_"))


def mark_interval(text: str) -> Markup:
    """A score, escaped, with its interval set apart."""
    value, bracket, rest = text.partition("[")
    return (
        Markup('{}<span class="interval">{}</span>').format(value, bracket + rest) if bracket else Markup.escape(text)
    )


def name_digest(text: str) -> str:
    """As Content-Security-Policy names an inline style or script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
