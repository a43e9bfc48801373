"""HTML pages that work from a file URL and run nothing but ours: whole in themselves, or with two files beside them.

A page that is sent by itself (a report, a study) holds its style and script, and its policy (Content-Security-Policy)
allows these by their digests alone. The pages of a site share one style and one script that lie beside them; theirs
allows what lies where the page does, and nothing that stands in it. Either way nothing is asked of any other place, and
nothing that a name smuggles in can run; all content is escaped besides.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

TEMPLATES = Path(__file__).parents[1] / "templates"
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
HERE = "'self' file:"  # what lies beside the page: to a browser no file is another's 'self'
BESIDE = (f"img-src {HERE}", f"media-src {HERE}")
INSIDE = ("img-src data:",)  # pictures that stand in the page itself


def read_assets(name: str) -> dict[str, str]:
    """The style and the script of pages, by the names of their files; without a script where there is none.

    The style is what all pages have in common, then `templates/<name>.css`.
    """
    styles = [(TEMPLATES / f"{one}.css").read_text(encoding="utf-8") for one in ("common", name)]
    script = TEMPLATES / f"{name}.js"
    scripts = {script.name: script.read_text(encoding="utf-8")} if script.is_file() else {}
    return {f"{name}.css": "".join(styles), **scripts}


def fill_page(name: str, *, assets: str = "", media: tuple[str, ...] = BESIDE, **content: Any) -> str:
    """`templates/<name>.html`, filled. Everything of `content` is escaped.

    With `assets` the page leads to the files of `read_assets(assets)` beside it, else style and script of its own name
    stand in it. `media` is the policy for pictures and films: `BESIDE` or `INSIDE`.
    """
    files = read_assets(assets or name)
    css, js = files[f"{assets or name}.css"], files.get(f"{assets or name}.js", "")
    style, script = (HERE, HERE) if assets else (f"'{name_digest(css)}'", f"'{name_digest(js)}'")
    policy = "; ".join(
        (
            "default-src 'none'",
            *([f"script-src {script}"] if js else []),
            f"style-src {style}",
            *media,
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    # ours, read from the package: no text from outside goes into them
    trusted = {"css": Markup(css), "js": Markup(js)}
    return make_environment().get_template(f"{name}.html").render(policy=policy, **trusted, **content) + "\n"


@functools.cache
def make_environment() -> jinja2.Environment:
    """What reads the templates; it keeps those that it has compiled."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"breakable": mark_breaks, "interval": mark_interval, "options": mark_options}
    return environment


def mark_breaks(text: str) -> Markup:
    """The text, escaped, with leave to break the line after each underscore."""
    return Markup("_<wbr>").join(text.split("_"))


def mark_options(text: str) -> Markup:
    """A command, escaped unless it is HTML already, without leave to break a line within an option, as behind `--`."""
    return Markup(OPTION.sub(r'<span class="step">\g<0></span>', str(Markup.escape(text))))


def mark_interval(text: str) -> Markup:
    """A score, escaped, with its interval set apart."""
    value, bracket, rest = text.partition("[")
    return (
        Markup('{}<span class="interval">{}</span>').format(value, bracket + rest) if bracket else Markup.escape(text)
    )


def name_digest(text: str) -> str:
    """As Content-Security-Policy names an inline style or script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
