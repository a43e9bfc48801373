"""Reported tables that no text beside the checkout prints: their form, and what their numbers say of each other.

A digit that was copied wrongly nearly always breaks one of these: columns keep their precision and their range, a mean
is that of its subjects, a score is the sum that its paper defines, two papers that print one number print the same.
"""

from __future__ import annotations

import re
from collections import defaultdict
from statistics import mean

import pytest

from leaderboard.papers.reported import READ, ReportedError, ReportedTable, load_table, table_names
from leaderboard.papers.unread import load_unread
from leaderboard.publication import write_markdown
from leaderboard.web.site import write_site
from metrics.protocols import PROTOCOLS

TABLES = {name: load_table(name) for name in table_names()}
OTHERS = [name for name in TABLES if not name.startswith(("sam_net", "cine_neuron"))]  # those: digit by digit elsewhere
PUBLISHED = re.compile(
    r"((CVPR|ICCV|NeurIPS|ICLR|AAAI|ICASSP) 20\d\d)?(, )?(arXiv \d{4}\.\d{5})?|unpublished, a public repository"
)
PLACE = re.compile(r"Tables? \d+( and \d+)?|abstract")
RANGES = {  # of a column, by its head: the first that fits; every column of fractions, decibels, … needs one
    r"\bPSNR\b": (5, 20),
    r"\bSSIM\b|Pixel level": (0, 0.6),
    r"\bFVD\b": (10, 1100),
    r"\bFVMD\b": (1000, 5000),
    r"\bEPE\b": (1, 10),
    r"\bPCC|pcc|CTC|DTC|CLIP|VIFI|Hue|\bMS\b|Motion|BLEU|METEOR|ROUGE|CIDEr|Verb|verb|SPICE": (0, 2),
    r"-way|\b\d+[wVIF]\b|[VIF]\d+|Success|top-": (0, 1),
}


def numbers(name: str) -> dict[str, list[float]]:
    """Values of each row by its name."""
    return {" / ".join(row.labels): [cell.number.value for cell in row.cells] for row in TABLES[name].rows}


def column(table: ReportedTable, head: str) -> list[float]:
    place = table.columns.index(head)
    return [row.cells[place].number.value for row in table.rows]


# Form


@pytest.mark.parametrize("name", TABLES)
def test_each_table_says_where_it_is_from(name):
    table = TABLES[name]
    assert table.published
    assert PUBLISHED.fullmatch(table.published), table.published
    assert table.read in READ
    assert table.read == "review" or PLACE.fullmatch(table.place), table.place
    assert (table.place == "abstract") == (table.read == "abstract")
    assert table.citation.startswith(table.source)
    assert table.published in table.origin
    if table.notes:
        assert table.notes[-1].endswith(".")


def test_the_sentences_about_a_table():
    table = TABLES["need.7"]
    assert table.about == (
        "Data: seed_dv. Split: single subject, new subject. Scored by: its own definition. Subjects: 20, not stated."
    )
    assert table.origin.endswith("Table 7 (NeurIPS 2025). Read in the paper.")
    assert TABLES["neurons.cc2017"].origin == (
        "Wang et al., NEURONS (ICCV 2025, arXiv 2503.11167). "
        "Copied from the project's review of the field (fmri2video.md §5)."
    )
    assert "Split: not stated." in TABLES["decofuse.cc2017"].about


@pytest.mark.parametrize("name", OTHERS)
def test_every_number_is_in_the_range_of_what_it_measures(name):
    table = TABLES[name]
    for head, *cells in zip(table.columns, *(row.cells for row in table.rows), strict=True):
        fitting = next((span for pattern, span in RANGES.items() if re.search(pattern, head)), None)
        for cell in cells:
            number = cell.number
            if number.value is None:
                continue
            percent = "%" in number.text or "%" in cell.defined
            low, high = (0, 100) if percent else fitting or (None, None)
            assert low is not None, f"{head}: give its range"
            assert low <= number.value <= high, (head, number.text)
            assert number.spread is None or 0 < number.spread < (high - low) / 2
            if cell.metric and not percent:
                protocol, metric = cell.metric.split(".")
                spec = PROTOCOLS[protocol][metric]
                assert spec.lo <= number.value <= spec.hi


def test_columns_keep_their_precision():
    """So a lost or an added digit shows. Where a paper itself prints otherwise, the column is named here."""
    uneven = set()
    for name in OTHERS:
        table = TABLES[name]
        for head, *cells in zip(table.columns, *(row.cells for row in table.rows), strict=True):
            texts = [cell.number.text.partition("±")[0].strip("%") for cell in cells if cell.number.value is not None]
            if len({len(text.partition(".")[2]) for text in texts}) > 1:
                uneven.add((name, head))
    assert uneven == {
        ("cinebrain.2", "FVD"),
        ("cinebrain.3", "PSNR"),
        ("cinebrain.rerun", "DTC"),
        ("cinebrain.rerun", "CTC"),
        ("dynamind.cinebrain", "PSNR"),
    }


def test_every_table_of_classification_stands_apart():
    apart = {name for name, table in TABLES.items() if table.task == "classification"}
    assert apart == {"dynamind.eeg_vp", "eeg2video.eeg_vp", "eeg2video.eeg_vp_rerun", "need.eeg_vp"}
    for name in apart:
        assert all(cell.defined.startswith("EEG-VP") for row in TABLES[name].rows for cell in row.cells)


# What the numbers say of each other


@pytest.mark.parametrize(
    ("name", "whole", "parts", "off"),
    [
        ("neuroclips.cc2017", "NeuroClips mean", "NC s", {}),
        ("neurons.cc2017", "NEURONS mean", "NEURONS s", {"vid 50w": (0.2613, 0.262)}),
        (
            "cinebrain.5",
            "CineSync⋆",
            "Subject ",
            {
                "Video 2-way": (0.9253, 0.926),
                "FVD": (44.9267, 44.77),
                "DTC": (0.9198, 0.921),
                "CTC": (0.952, 0.953),
            },
        ),
    ],
)
def test_means_are_those_of_the_subjects(name, whole, parts, off):
    """To the printed digit; where the paper's own mean is another, both are listed here and in the table's notes."""
    table = TABLES[name]
    rows = numbers(name)
    subjects = [values for label, values in rows.items() if re.fullmatch(rf"{parts}\d", label)]
    assert len(subjects) in (3, 6)
    found = {}
    for k, head in enumerate(table.columns):
        if rows[whole][k] is None or any(values[k] is None for values in subjects):
            continue
        text = next(row.cells[k].number.text for row in table.rows if row.labels[0] == whole).partition("±")[0]
        unit = 10 ** -len(text.partition(".")[2])
        average = mean(values[k] for values in subjects)
        if abs(average - rows[whole][k]) > unit / 2 + 1e-9:
            found[head] = (round(average, 4), rows[whole][k])
    assert found == off


def test_basic_is_the_sum_that_its_paper_defines():
    for values in numbers("basic.2").values():
        assert 0.4 * values[2] + 0.4 * values[5] + 0.2 * values[8] == pytest.approx(values[9], abs=0.0051)
    for values in numbers("basic.3").values():
        sum_of_parts = 0.3 * values[0] + 0.25 * values[4] + 0.25 * values[6] + 0.2 * values[8]
        assert sum_of_parts == pytest.approx(values[10], abs=0.0051)


def test_cinebrain_prints_its_means_and_its_fifth_subject_again():
    """Table 3 as the reference has it, its columns in another order; Tables 4 and 5 as the paper's text has them."""
    assert TABLES["cinebrain.4"].columns == TABLES["cinebrain.5"].columns
    whole, fifth = (numbers("cinebrain.5")[row] for row in ("CineSync⋆", "Subject 5"))
    assert numbers("cinebrain.4")["CineSync⋆"] == whole
    (printed_whole, printed_fifth) = (numbers("cinebrain.3")[f"CineSync⋆ {row}"] for row in ("(18,946 vox)", "sub5"))
    assert sorted(printed_whole) == sorted(whole)
    assert sorted(printed_fifth) == sorted(fifth)


def test_need_agrees_with_itself_and_with_eeg2video():
    """On new subjects its abstract keeps 93.7 % of 2-way and 92.4 % of SSIM; EEG2Video's row is that of 10 classes."""
    within, new = numbers("need.7")["Within-subject (20/20)"], numbers("need.7")["19/20 subjects"]
    assert numbers("need.11")["Full Model"] == new
    heads = TABLES["need.7"].columns
    shared = [heads.index(head) for head in TABLES["need.2"].columns]
    assert numbers("need.2")["Full Model (Ours)"] == [within[k] for k in shared]
    assert 100 * new[0] / within[0] == pytest.approx(93.7, abs=0.05)
    assert 100 * new[-1] / within[-1] == pytest.approx(92.4, abs=0.05)
    fewer = [column(TABLES["need.7"], head)[1:] for head in heads]
    for head, values in zip(heads, fewer, strict=True):
        assert values == sorted(values, reverse=head == "FVD"), head
    (ten,) = [row for row in TABLES["eeg2video.seed_dv"].rows if row.labels[0] == "10"]
    theirs = [cell.number.value for cell in ten.cells]
    assert numbers("need.2")["EEG2video"] == [theirs[k] for k in (0, 1, 2, 3, 4)]


def test_classification_agrees_between_papers():
    need = {label.partition(" / ")[2]: row for label, row in numbers("need.eeg_vp").items()}
    for name, values in numbers("eeg2video.eeg_vp").items():
        own = [value for value in values if value is not None]
        assert need[name][: len(own)] == own, name
    spreads = [cell.number.spread for cell in TABLES["eeg2video.eeg_vp"].rows[0].cells[:4]]
    (glmnet,) = [row for row in TABLES["need.eeg_vp"].rows if row.labels == ("raw", "GLMNet")]
    assert [cell.number.spread for cell in glmnet.cells[:4]] == spreads
    gains = [100 * (own / other - 1) for own, other in zip(need["DSGNet (Ours)"], need["BraVL"], strict=True)]
    assert gains == pytest.approx(
        [101.8, 35.2, 32.8, 13.6, 25.6, 12.9, 10.9, 11.2, 10.4], abs=0.06
    )  # as it prints them
    rivals = [row for name, row in need.items() if name != "DSGNet (Ours)"]
    assert [max(row[k] for row in rivals) == need["BraVL"][k] for k in range(9)] == [k != 1 for k in range(9)]


def test_chance_of_classification_is_the_same_in_every_paper():
    levels = defaultdict(set)
    for table in TABLES.values():
        if table.task == "classification" and "rerun" not in table.name:
            for head, cell in zip(table.columns, table.rows[0].cells, strict=True):
                levels[head].add(cell.chance)
    assert set(map(len, levels.values())) == {1}
    assert len(levels) == 9


# What was not read

NAMED = "VCFlow MindCross MindShot MindCine EEGMirror EEGVid NEED SemVideo DecoFuse NEURONS"


def test_no_work_is_passed_over_in_silence():
    """Each has a table that was read in its paper, or an entry that says what is lacking."""
    unread = {work.name: work for work in load_unread()}
    for name in NAMED.split():
        own = [table for table in TABLES.values() if table.name.startswith(name.lower()) and table.read == "paper"]
        assert bool(own) != (name in unread), name


def test_entries_of_the_unread_are_whole():
    for work in load_unread():
        assert PUBLISHED.fullmatch(work.published)
        assert work.published
        assert ", " in work.source
        assert work.known.endswith(".") and not work.lacking.endswith(".")
        assert all(name in TABLES for name in work.tables)
        prefix = re.sub(r"\W", "_", work.name.lower())
        held = {name for name in TABLES if name.split(".")[0] in (prefix, prefix.replace("_", ""))}
        assert held <= set(work.tables), "a table of it that its entry does not name"
        assert all(TABLES[name].read != "paper" for name in held)


ENTRY = """
[[works]]
name = "A"
source = "B, C"
published = "D"
datasets = []
splits = []
lacking = "e"
known = "f."
"""


@pytest.mark.parametrize(
    ("old", "new", "words"), [("lacking", "left", "lacks lacking"), ("known", "know", "lacks known")]
)
def test_malformed_entries_say_what_is_wrong(tmp_path, old, new, words):
    text, path = ENTRY, tmp_path / "unread.toml"
    path.write_text(text, encoding="utf-8")
    (work,) = load_unread(path)
    assert work.text == "B, C (D). Data: not stated. Split: not stated. Not read: e. f."
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ReportedError, match=f"A {words}"):
        load_unread(path)
    path.write_text(text + 'colour = "red"\n', encoding="utf-8")
    with pytest.raises(ReportedError, match="colour"):
        load_unread(path)


# How they are shown


def test_the_board_shows_sources_notes_and_what_is_missing(tmp_path):
    text = write_markdown([], list(TABLES.values()), load_unread())
    write_site([], [], tmp_path)
    page = (tmp_path / "papers.html").read_text(encoding="utf-8")
    for table in TABLES.values():
        assert table.origin in text
        assert table.about in text
        assert " ".join(table.notes) in text
        assert f'id="reported-{table.name}"' in page
    for work in load_unread():
        assert f"- **{work.name}**: {work.text}" in text
        assert f"<b>{work.name}</b>" in page
    first, apart, missing = (text.index(f"\n## {head}\n") for head in HEADS)
    assert first < text.index("### need.2:") < apart < text.index("### need.eeg_vp:") < missing < text.index("VCFlow")
    assert HEADS[1] not in write_markdown([], [TABLES["need.2"]])


HEADS = ("Reported by papers", "Reported by papers: classification", "Known, and not read")
