"""No text of ours is read or written in the encoding of whoever's machine it is: each call names one.

Looked for in the sources, for what the tests happen to run is not all there is.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path for room in ("bench", "baselines", "methods", "metrics", "leaderboard") for path in (ROOT / room).rglob("*.py")
)
TEXT = {"read_text": 0, "write_text": 1}  # the place of `encoding` among the arguments


def find_unnamed(source: str) -> list[int]:
    """Lines with a call that leaves the encoding of a text to the machine."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        named = {word.arg: word.value for word in node.keywords}
        if "encoding" in named or None in named:
            continue
        if called in TEXT:
            bad = len(node.args) <= TEXT[called]
        elif called in ("open", "fdopen"):
            bad = not is_binary(node, named)
        else:
            bad = any(
                isinstance(named.get(word), ast.Constant) and named[word].value is True
                for word in ("text", "universal_newlines")
            )
        if bad:
            found.append(node.lineno)
    return found


def is_true(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Constant) and value.value is True


def is_binary(node: ast.Call, named: dict[str | None, ast.expr]) -> bool:
    """Whether a call of `open` says "b", or opens something that is no file: a door, an archive, an image."""
    words = set(named) - {"mode", "buffering", "errors", "newline"}
    arguments = node.args if isinstance(node.func, ast.Attribute) else node.args[1:]
    modes = [*arguments[:1], *([named["mode"]] if "mode" in named else [])]
    texts = [one.value for one in modes if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    return bool(words) or len(texts) < len(modes) or any("b" in text for text in texts)


def test_every_text_names_its_encoding() -> None:
    unnamed = {
        f"{path.relative_to(ROOT)}:{line}"
        for path in SOURCES
        for line in find_unnamed(path.read_text(encoding="utf-8"))
    }
    assert not unnamed


@pytest.mark.parametrize(
    ("call", "found"),
    [
        ("path.read_text()", 1),
        ("path.read_text('utf-8')", 0),
        ("path.write_text(text)", 1),
        ("path.write_text(text, encoding='utf-8')", 0),
        ("open(path)", 1),
        ("path.open('rb')", 0),
        ("path.open('w', newline='')", 1),
        ("open(path, mode='xb')", 0),
        ("subprocess.run(words, text=True)", 1),
        ("subprocess.run(words, text=True, encoding='utf-8')", 0),
        ("Image.open(path)", 0),
        ("setting.open(make=True)", 0),
    ],
)
def test_such_calls_are_seen(call: str, found: int) -> None:
    assert len(find_unnamed(call)) == found
