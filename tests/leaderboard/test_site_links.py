"""What a row leads to: its method's page, paper, code, record, commands, clips; downloads; what a foot says."""

from __future__ import annotations

import csv
import io
import json
import shlex
from pathlib import Path

import pandas as pd
import pytest
from documents import find_shown
from small_site import ALSO_HOSTILE, HOSTILE, Reader, Site, make_site, read_page

from bench.cli.app import command
from bench.core.built_in import BUILT_IN
from bench.core.version import __version__
from leaderboard.papers.works import find_paper, load_works
from leaderboard.publication import board_rows
from leaderboard.rendering import render
from leaderboard.results import Committed
from leaderboard.web.markdown import lay_out
from leaderboard.web.method_page import list_entries, name_page, view_method
from leaderboard.web.origin import describe_origin, find_repository
from leaderboard.web.site import SUBMIT

WALLED = "phantom_eeg-tiny-cross_subject-40-mini"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Site:
    return make_site(tmp_path_factory.mktemp("links"))


def test_every_row_leads_to_all_that_is_known_of_it(made):
    """`one` is published with a record and clips; `retrieval` is not, and its page says what the code is."""
    folder, sections, walls, _ = made
    page = read_page(folder / f"{WALLED}.html")
    links = {str(about["href"]) for tag, about in page.tags if tag == "a" and "href" in about}
    for row in sections[0].rows:
        assert name_page(row.method) in links
    record = f"records/{WALLED}.one.json"
    assert {record, "method-one.html#paper", f"method-one.html#again-{WALLED}", f"clips-{WALLED}.html#m-one"} <= links
    matrix = {about.get("href") for tag, about in read_page(folder / "index.html").tags if tag == "a"}
    seeing = {row.method for section in sections for row in section.rows if row.role in ("method", "baseline")}
    assert {name_page(method) for method in seeing} <= matrix
    (committed,) = [one for one in Committed(folder.parent / "results").records.values() if "one" in str(one["cells"])]
    held = json.loads((folder / record).read_text(encoding="utf-8"))
    assert held["record_digest"] == committed["record_digest"]
    assert [cell["key"] for cell in held["cells"]] == [cell["key"] for cell in committed["cells"]]
    assert not {"files", "sources"} & set(held["cells"][0])
    assert len(walls) == 1


def test_commands_of_pages_are_commands(made):
    """Each line is parsed by the command line itself; nothing is run."""
    lines = [line for text in SUBMIT.values() for line in text.splitlines()]
    page = (made[0] / "method-one.html").read_text(encoding="utf-8")
    assert page.count('<span class="step">--method</span> one') == 2  # and no line is broken within an option
    asked = [shlex.split(line)[3:] for line in (*lines, *find_shown(page))]
    assert len(asked) == 12 and ["run", "--method", "one"] in [words[:3] for words in asked]  # one in the foot
    for verb, *words in asked:
        words = ["sam_net" if one in ("one", "my_method") else one for one in words]
        command.commands[verb].make_context(verb, words)


def test_a_page_tells_paper_and_code_of_a_built_in_method(made):
    _, sections, walls, _ = made
    entries = list_entries([(sections[0], walls[0])], [])
    view = view_method("dynamind", entries["retrieval"], [], describe_origin([]))
    assert view["address"] == "https://arxiv.org/abs/2509.01177" and "DynaMind" in view["paper"]
    assert view["code"] == "baselines/dynamind" and "<h1" not in view["readme"] and "<h3>" in view["readme"]
    assert view_method(HOSTILE, entries["retrieval"], [], describe_origin([]))["code"] == ""


def test_a_page_of_the_repository_is_laid_out_and_can_do_nothing():
    text = """# Title
<!-- board dataset=x -->
## Part

| a | b |
|---|--:|
| *x* | 1 < 2 |

[there](https://host/x?a=1&b=2) [beside](../RECIPES.md#part) [above](../../../etc) [here](#part)
[never](javascript:alert(1))
![picture](https://host/x.png) <img src=x onerror=alert(2)> <b>bold</b>

```bash
echo "<script>alert(3)</script>"
```
"""
    for repository, inside in (
        ("", "beside"),
        ("https://host/o/n", '<a href="https://host/o/n/blob/main/methods/RECIPES.md"'),
    ):
        reader = Reader()
        html = lay_out(text, "methods/some", repository)
        reader.feed(html)
        tags = [tag for tag, _ in reader.tags]
        assert tags[:3] == ["h3", "div", "table"] and "Title" not in html and "board" not in html and inside in html
        assert not {"img", "script", "b", "h1"} & set(tags) and tags.count("td") == 2 and "em" in tags
        links = [about for tag, about in reader.tags if tag == "a"]
        assert links[0] == {"href": "https://host/x?a=1&b=2", "rel": "noopener noreferrer"}
        assert all(str(one["href"]).startswith("https://host/") for one in links)
        assert len(links) == 2 + bool(repository)  # of the picture too
        assert "<b>bold</b> " not in html and 'echo "<script>alert(3)</script>"' in reader.text
        assert all(word in reader.text for word in ("beside", "above", "here", "1 < 2"))


def test_works_are_of_methods_and_cited_where_they_are_built():
    """Every work is of a method that is here, and the first author is named in that method's README."""
    for method in load_works():
        target = BUILT_IN["methods"][method].target
        readme = "/".join(target.partition(":")[0].split(".")[:2]) + "/README.md"
        text = Path(readme).read_text(encoding="utf-8")
        paper, address = find_paper(method)
        assert paper.replace(",", " ").split()[0] in text
        if address and method not in ("cine_neuron", "neuroclips", "mind_animator"):  # whose READMEs give no number
            assert address.rpartition("/")[2] in text
    assert find_paper("ridge") == ("", "")


def test_the_foot_says_version_day_and_digest_of_the_results(made):
    folder = made[0]
    committed = Committed(folder.parent / "results")
    for path in folder.glob("*.html"):
        assert f"Brain2Video Bench {__version__}; results {committed.digest}" in read_page(path).text
        assert 'href="submit.html"' in path.read_text(encoding="utf-8")
    ages = [("a", 1795269229.17, "old"), ("b", 1796083200.0, "new"), ("c", 0, "none")]
    cells = [
        {"key": key, "started": age, "provenance": {"commit": commit, "dirty": False}} for key, age, commit in ages
    ]
    origin = describe_origin([{"scores_sha256": "x", "cells": cells}])
    assert (origin.newest, origin.commit) == ("2026-12-01", "new")  # 1796083200 is its midnight, UTC
    cells[1]["provenance"]["dirty"] = True
    assert describe_origin([{"scores_sha256": "x", "cells": cells}]).commit == ""


def test_a_repository_is_named_by_https_alone(tmp_path):
    project = tmp_path / "pyproject.toml"
    for address, found in [("https://host/owner/name/", "https://host/owner/name"), ("javascript:alert(1)", "")]:
        project.write_text(f'[project]\nname = "x"\n[project.urls]\nRepository = "{address}"\n', encoding="utf-8")
        assert find_repository(project) == found
    project.write_text('[project]\nname = "x"\n', encoding="utf-8")
    assert find_repository(project) == ""


def test_downloads_are_whole_and_hold_plain_names(made):
    folder, sections, _, _ = made
    records = json.loads((folder / "board.json").read_text(encoding="utf-8"))
    table = pd.read_csv(folder / "board.csv")
    rows = [row for section in sections for row in section.rows]
    assert [one["method"] for one in records] == table["method"].tolist() == [row.method for row in rows]
    assert {HOSTILE, ALSO_HOSTILE} < set(table["method"]) and "video_40way" in table
    for record, row in zip(records, rows, strict=True):
        if "video_40way" in row.scores:
            assert record["video_40way"] == pytest.approx(row.scores["video_40way"].value, rel=1e-5)
    assert render(board_rows(sections), "csv") == (folder / "board.csv").read_text(encoding="utf-8")


def test_no_text_of_a_csv_is_a_formula():
    names = ["=1+1", "+x", "-2+3", "@SUM(A1)", "\tx", "sam_net", "-", "−0.03", "-0.5", "+1.2 ± 0.3"]
    table = pd.DataFrame({"method": names, "value": [-0.5] * len(names), "=head": "x"})
    head, *rows = csv.reader(io.StringIO(render(table, "csv")))
    assert head == ["method", "value", "'=head"] and {row[1] for row in rows} == {"-0.5"}
    assert [row[0] for row in rows] == [
        "'=1+1", "'+x", "'-2+3", "'@SUM(A1)", "'\tx", "sam_net", "'-", "−0.03", "-0.5", "+1.2 ± 0.3",
    ]  # fmt: skip
    assert [one["method"] for one in json.loads(render(table, "json"))] == names
