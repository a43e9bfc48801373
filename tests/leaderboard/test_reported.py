"""Reported numbers, digit by digit, against the papers' text and the references beside the checkout.

The parser here knows nothing of the TOML files: it reads the tabs of the papers' text (made from PDF) and the pipes of
the references' Markdown, row by row, and both sides must hold the same rows with the same numbers, none more.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from leaderboard.papers.reported import ReportedError, load_table, table_names
from metrics.n_way import chance
from metrics.protocols import PROTOCOLS

SHARED = Path(__file__).parents[2].parent / "shared"
PRINTED = re.compile(r"\d+\.\d+%?(?:±\d+\.\d+)?|-")
TABLES = [*(f"sam_net.{n}" for n in range(1, 5)), *(f"cine_neuron.{n}" for n in range(1, 7))]


def read_shared(*parts: str) -> list[str]:
    path = SHARED.joinpath(*parts)
    if not path.is_file():
        pytest.skip(f"needs {path.name} beside the checkout, and it is not there")
    return path.read_text(encoding="utf-8").splitlines()


# The papers' text


def plain(text: str) -> str:
    """A cell without the marks of bold, underlined and mathematics; ± without spaces."""
    text = re.sub(r"</?(?:b|u|i|math)>|\$", "", text).replace(r"\pm", "±")
    return re.sub(r"\s*±\s*", "±", text).strip()


def paper_tables(lines: list[str], *, captions_below: bool) -> dict[int, list[tuple[list[str], list[str]]]]:
    """Of each table its rows as (names, numbers). Captions stand below the tables (SAM-Net) or above (CineNeuron)."""
    blocks: list[tuple[int, list[list[str]]]] = []
    for number, line in enumerate(lines):
        if "\t" in line:
            if not blocks or number - blocks[-1][0] > 1:
                blocks.append((number, []))
            blocks[-1] = (number, [*blocks[-1][1], [plain(cell) for cell in line.split("\t")]])
    captions = {n: int(m[1]) for n, line in enumerate(lines) if (m := re.match(r"(?:\*\*)?Table (\d+)\.", line))}
    tables = {}
    for end, block in blocks:
        below = min((n for n in captions if n > end), default=None)
        above = max((n for n in captions if n < end), default=None)
        caption = below if captions_below else above
        assert caption is not None
        assert captions[caption] not in tables, "one block a table"
        tables[captions[caption]] = [row for cells in block if (row := split_row(cells))[1]]
    return tables


def split_row(cells: list[str]) -> tuple[list[str], list[str]]:
    """Names and numbers of a row. Rows of heads hold no number, so they have none."""
    numbers = [cell for cell in cells if PRINTED.fullmatch(cell)]
    return [cell for cell in cells if cell and not PRINTED.fullmatch(cell)], numbers


def name_inside(names: list[str], labels: tuple[str, ...]) -> bool:
    """Whether the row's names in the text are the last of the table's: the text prints what repeats only once."""
    wanted = [label for label in labels if label]
    found = [re.sub(r"\s*\(\\downarrow\)", "", name) for name in names]
    return bool(found) and wanted[-len(found) :] == found


@pytest.mark.parametrize("name", TABLES)
def test_every_number_of_the_papers_digit_by_digit(name):
    paper, _, number = name.partition(".")
    file = {"sam_net": "sam_net.txt", "cine_neuron": "cineneuron.txt"}[paper]
    printed = paper_tables(read_shared("papers", file), captions_below=paper == "sam_net")
    rows = printed[int(number)]
    table = load_table(name)
    assert len(rows) == len(table.rows)
    for (names, numbers), row in zip(rows, table.rows, strict=True):
        assert name_inside(names, row.labels), (names, row.labels)
        assert numbers == [cell.number.text for cell in row.cells], row.labels
    assert len(printed) == {"sam_net": 4, "cine_neuron": 6}[paper], "a table of the paper has no file"


@pytest.mark.parametrize(("paper", "file"), [("sam_net", "sam_net.txt"), ("cine_neuron", "cineneuron.txt")])
def test_nothing_is_missing_from_the_papers_and_nothing_is_added(paper, file):
    """Both ways, without rows or columns: the decimals in lines with tabs are those of the files, as often."""
    text = " ".join(plain(line) for line in read_shared("papers", file) if "\t" in line)
    printed = sorted(re.findall(r"\d+\.\d+", text))
    tables = [load_table(name) for name in TABLES if name.startswith(paper)]
    held = [cell.number.text for table in tables for row in table.rows for cell in row.cells]
    assert printed == sorted(re.findall(r"\d+\.\d+", " ".join(held)))


def test_labels_that_the_text_prints_once_are_carried_on():
    """SAM-Net's classes and kinds of model, CineNeuron's data sets and ticks, against the text's own first cells."""
    for name, file, width in (("sam_net.1", "sam_net.txt", 2), ("sam_net.2", "sam_net.txt", 1)):
        printed = paper_tables_with_gaps(read_shared("papers", file), name)
        for row, cells in zip(load_table(name).rows, printed, strict=True):
            assert list(row.labels[:width]) == cells[:width]
    ticks = [line.count("✓") for line in read_shared("papers", "cineneuron.txt") if line.startswith("✓")]
    assert ticks == [sum(bool(label) for label in row.labels) for row in load_table("cine_neuron.4").rows]


def paper_tables_with_gaps(lines: list[str], name: str) -> list[list[str]]:
    first, last = {"sam_net.1": ("10\tSS", "Table 1."), "sam_net.2": ("10\tBest", "Table 2.")}[name]
    start = next(n for n, line in enumerate(lines) if line.startswith(first))
    rows: list[list[str]] = []
    for line in lines[start:]:
        if line.startswith(last):
            return rows
        if "\t" in line:
            cells = line.split("\t")
            filled = [cell or rows[-1][k] for k, cell in enumerate(cells[:2])] if rows else cells[:2]
            rows.append([*filled, *cells[2:]])
    raise AssertionError("no caption")


# The references' Markdown


def markdown_rows(file: str, head: str) -> dict[str, list[str]]:
    """Cells of each row of the table that begins with `head`, by the row's name."""
    lines = read_shared("reference", file)
    start = next(n for n, line in enumerate(lines) if line.startswith(head))
    rows = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            return rows
        first, *cells = (cell.replace("*", "").strip() for cell in line.strip("|").split("|"))
        rows[first] = cells
    raise AssertionError("the table does not end")


def digits(text: str) -> list[str]:
    """Its numbers without a leading zero, as the references print them; [] for an absent one."""
    return [number.removeprefix("0") for number in re.findall(r"\d*\.?\d+", text)]


def held(name: str) -> dict[str, list[list[str]]]:
    return {
        " / ".join(filter(None, row.labels)): [digits(cell.number.text) for cell in row.cells]
        for row in load_table(name).rows
    }


def one_row(cells: list[str]) -> list[list[str]]:
    return [digits(cell) for cell in cells]


@pytest.mark.parametrize(
    ("name", "file", "head"),
    [
        ("eeg2video.seed_dv", "eeg2video.md", "| classes | video 2-way"),
        ("dynamind.seed_dv", "eeg2video.md", "| SEED-DV | video 2"),
        ("dynamind.ablation", "eeg2video.md", "| ablation (40 cls)"),
        ("semvideo.cc2017", "fmri2video.md", "| | 2V | 50V"),
    ],
)
def test_tables_of_the_references_digit_by_digit(name, file, head):
    printed = {key.removesuffix(" cls").replace("−", "-"): cells for key, cells in markdown_rows(file, head).items()}
    assert {key: one_row(cells) for key, cells in printed.items()} == held(name)


def test_cinebrains_table_and_its_rerun():
    printed = markdown_rows("fmri2video.md", "| | V2 | V50")
    ours = printed.pop("CineNeuron")
    assert {key.removesuffix(" [3rd]"): one_row(cells) for key, cells in printed.items()} == {
        **held("cinebrain.3"),
        **held("cinebrain.rerun"),
    }
    (row,) = [row for row in load_table("cine_neuron.1").rows if row.labels == ("CineBrain", "CINENEURON")]
    assert [digits(cell.number.text)[0] for cell in row.cells[:2]] == [digits(cell)[0] for cell in ours[:2]]


def test_the_table_of_cc2017():
    """One table of the reference, of four papers; rows of three subjects or six steps are held row by row.

    NeuroClips' ± are from its own paper, and DecoFuse's columns from its abstract: the reference prints neither.
    """
    printed = markdown_rows("fmri2video.md", "| Method | vid 2w")
    own = {name: [cell[:1] for cell in row] for name, row in held("neuroclips.cc2017").items()}
    expected = own | held("neurons.cc2017")
    expected |= {f"step {k}": row for k, row in enumerate(held("neurons.ablation").values())}
    for key, cells in printed.items():
        cells = cells[:7]  # the eighth is a note
        if key == "CineNeuron":
            (row,) = [row for row in load_table("cine_neuron.1").rows if row.labels == ("cc2017", "CINENEURON")]
            quoted = [digits(cells[k])[0] for k in (0, 1, 2, 5, 6)]
            assert quoted == [digits(row.cells[k].number.text)[0] for k in (0, 1, 2, 5, 6)]
        elif key.endswith("s1/s2/s3"):
            for k in range(3):
                name = f"{key.split()[0]} s{k + 1}"
                assert [digits(cell)[k : k + 1] for cell in cells] == expected.pop(name), name
        elif key.startswith("NEURONS ablation"):
            for k in range(6):
                assert [digits(cell)[k : k + 1] for cell in cells if digits(cell)] == expected.pop(f"step {k}")
        elif key == "DecoFuse":
            (row,) = load_table("decofuse.cc2017").rows
            assert digits(cells[1]) == [f".{row.cells[-1].number.text.strip('%').replace('.', '')}"] == [".219"]
        else:
            assert one_row(cells) == expected.pop(key), key
    assert not expected


def test_classification_and_its_rerun_as_the_reference_gives_them():
    """EEG2Video's in one sentence, the rerun in a table whose last column also has the range."""
    told = sentence("eeg2video.md", "Reported EEG-VP (mean/std over subjects [?]) [P]: ", " Compare")
    names = re.sub(r"top-\d|\b\d+c\b", "", told)
    assert digits(names) == flat("eeg2video.eeg_vp")
    rerun = {
        name.replace("`", ""): one_row(cells) for name, cells in markdown_rows("eeg2video.md", "| run tag").items()
    }
    assert {name: [*cells[:4], cells[4][:1]] for name, cells in rerun.items()} == held("eeg2video.eeg_vp_rerun")


def test_numbers_that_the_reference_cites():
    assert (
        digits(sentence("eeg2video.md", "weights HF `Tianyi1229/MindCine`), video 2-way ", " (as cited)"))
        == flat("mindcine.seed_dv")
        == [".818"]
    )
    cited = digits(sentence("eeg2video.md", "**EEGMirror** (ICCV 2025): ", " (as cited)").replace("2-way", ""))
    own = load_table("eegmirror.seed_dv").rows[0].cells
    assert [float(text) for text in cited] == pytest.approx([own[0].number.value / 100, own[1].number.value])


def sentence(file: str, start: str, end: str) -> str:
    (line,) = [line for line in read_shared("reference", file) if start in line]
    return line.partition(start)[2].partition(end)[0] if end else line.partition(start)[2]


def test_numbers_that_the_references_give_in_a_sentence():
    cinebrain = re.sub(r"[a-zA-Z]", "", sentence("eeg2video.md", "SSIM, PSNR): DynaMind", ""))
    assert digits(re.sub(r"\.(?=\s|$|;)", "", cinebrain)) == flat("dynamind.cinebrain")
    vp = sentence("eeg2video.md", "EEG-VP (mean/std): 40c **8.27", "")
    vp = re.sub(r"\(majority[^)]*\)", "", "8.27" + vp)  # the majority is the reference's remark
    names = re.sub(r"top-\d|\b\d+c\b", "", vp)
    assert digits(names) == [n for row in held("dynamind.eeg_vp").values() for cell in row for n in cell]
    retrieval = sentence("fmri2video.md", "NeuroClips retrieval (300-way, s1/s2/s3): ", "; CineNeuron")
    assert digits(retrieval) == flat("neuroclips.retrieval")
    captions = sentence("fmri2video.md", "NEURONS captions BLEU-1/4/CIDEr/verb: ", ").")
    assert digits(captions) == flat("neurons.captions")
    ablation = sentence("fmri2video.md", "Mind-Animator ablation full: ", "\n")
    assert digits(ablation.rstrip(".")) == flat("mind_animator.ablation")


def flat(name: str) -> list[str]:
    return [number for row in held(name).values() for cell in row for number in cell]


# What the numbers mean


def every_cell() -> Iterator:
    for name in table_names():
        for row in load_table(name).rows:
            yield from row.cells


def test_every_number_names_its_metric_and_chance_comes_from_the_protocol():
    for cell in every_cell():
        assert cell.metric or cell.defined
        if cell.metric:
            protocol, metric = cell.metric.split(".")
            spec = PROTOCOLS[protocol][metric]
            assert cell.chance == (None if spec.chance == "measured" else spec.chance)
            assert cell.direction == spec.direction
    first = load_table("sam_net.1").rows[0].cells
    assert [cell.chance for cell in first[:4]] == pytest.approx([3 / 4, 3 / 42, 3 / 4, 3 / 42])
    assert load_table("cine_neuron.1").rows[0].cells[1].chance == pytest.approx(chance(50, targets_per_clip=3))


def test_best_is_one_subject_chosen_by_frames():
    """Frame-based 2-way is the only column in which every Best row of SAM-Net is above its Average row."""
    pairs = []
    for name in ("sam_net.1", "sam_net.2"):
        rows = load_table(name).rows
        best = [row for row in rows if "Best" in row.labels[-1]]
        mean = [row for row in rows if "Average" in row.labels[-1]]
        pairs += list(zip(best, mean, strict=True))
    above = [all(b.cells[k].number.value > a.cells[k].number.value for b, a in pairs) for k in range(5)]
    assert above == [False, False, True, False, False]
    assert all(b.cells[0].best_by == "eeg2video.frame_2way" for b, _ in pairs)


def test_shares_of_people_add_up():
    rows = load_table("cine_neuron.3").rows
    for column in zip(*(row.cells for row in rows), strict=True):
        assert sum(cell.number.value for cell in column) == pytest.approx(100, abs=0.011)
        assert column[0].chance == 25.0
        assert column[0].method is None


def test_where_the_papers_disagree_with_each_other():
    """SAM-Net's quotation of DynaMind differs in one number, and of EEG2Video in none."""
    quoted = {row.labels: [c.number.text.split("±")[0] for c in row.cells] for row in load_table("sam_net.1").rows}
    for name, label, order in (("dynamind", "DynaMind", (0, 1, 3, 4, 5)), ("eeg2video", "EEG2Video", range(5))):
        differ = [
            (row.labels[0], own, other)
            for row in load_table(f"{name}.seed_dv").rows
            for own, other in zip(
                [row.cells[k].number.text.split("±")[0] for k in order],
                quoted[row.labels[0], "SS", label],
                strict=True,
            )
            if own != other
        ]
        assert differ == ([("20", "0.835", "0.833")] if name == "dynamind" else [])


# The format

GOOD = """
title = "t"
source = "s"
place = "Table 1"
published = "arXiv 0000.00000"
read = "paper"
common = { dataset = "seed_dv" }
columns = [{ name = "2-way", metric = "eeg2video.video_2way" }]
stub = ["Method"]
grid = [["A", "0.5±0.1"], ["B", "-"]]
rows = [{ row = "A", method = "sam_net", split = "cross_subject" }, { row = "B" }]
"""


def load_text(tmp_path: Path, text: str):
    (tmp_path / "table.toml").write_text(text, encoding="utf-8")
    return load_table("table", tmp_path)


def test_a_table_by_hand(tmp_path):
    table = load_text(tmp_path, GOOD)
    first, second = (row.cells[0] for row in table.rows)
    assert (first.number.text, first.number.value, first.number.spread) == ("0.5±0.1", 0.5, 0.1)
    assert (first.method, first.variant, first.split, first.classes) == ("sam_net", "base", "cross_subject", 40)
    assert (second.number.value, second.method) == (None, None)
    assert table.protocols == ("eeg2video",)
    with pytest.raises(dataclasses.FrozenInstanceError):
        table.title = "another"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("stub", "stubs", ["stub"]),
        ("title", "headline", ["title"]),
        ('"0.5±0.1"', '"0.5+-0.1"', ["0.5+-0.1", "row 'A'", "2-way"]),
        ('"0.5±0.1"', "0.5", ["text"]),
        ('["B", "-"]', '["B"]', ["1 names and 1 numbers"]),
        ('row = "B"', 'row = "C"', ["'C'", "'B'"]),
        (', { row = "B" }', "", ["1 entries", "2 rows"]),
        ("video_2way", "video_3way", ["video_3way", "video_2way"]),
        ("eeg2video.video", "eeg.video", ["eeg.video", "eeg2video"]),
        ('metric = "eeg2video.video_2way"', 'group = "x"', ["metric", "defined"]),
        ("seed_dv", "seed", ["seed", "cc2017"]),
        ('dataset = "seed_dv"', "subjects = 2", ["dataset"]),
        (', split = "cross_subject"', "", ["split"]),
        ("cross_subject", "crossed", ["crossed", "cross_subject"]),
        ('"cross_subject"', '"cross_subject", of = "best"', ["best_by"]),
        ('video_2way"', 'video_2way", chance = 0.75', ["chance", "repeats"]),
        ('"seed_dv"', '"seed_dv", colour = "red"', ["colour", "allowed"]),
        ("title =", "title", ["TOML"]),
        ("published", "publisher", ["lacks published"]),
        ('read = "paper"', "", ["lacks read"]),
        ('read = "paper"', 'read = "talk"', ["'talk'", "paper, abstract, review"]),
        ('read = "paper"', 'read = "paper"\ntask = "retrieval"', ["'retrieval'", "classification"]),
        ('place = "Table 1"', "", ["place", "where in it"]),
        ('read = "paper"', 'read = "review"', ["review", "where in it"]),
        ('read = "paper"', 'read = "abstract"\nreview = "field.md"', ["field.md", "abstract"]),
    ],
)
def test_malformed_files_say_what_is_wrong(tmp_path, old, new, words):
    assert old in GOOD
    with pytest.raises(ReportedError) as error:
        load_text(tmp_path, GOOD.replace(old, new))
    for word in words:
        assert word in str(error.value)


def test_unknown_tables_name_the_nearest():
    with pytest.raises(ReportedError, match=r"sam_net\.1"):
        load_table("sam_net1")
    assert table_names()[:10] == TABLES
