"""The ablation study: what it plans and shares, how each difference is decided, and what of it is shown."""

from __future__ import annotations

import io
import json
import re
import zlib
from contextlib import redirect_stdout

import numpy as np
import pandas as pd
import pytest

import bench
from bench.api import paper_study as door
from bench.api import study_run
from bench.cli import main
from bench.core.built_in import BUILT_IN
from bench.core.job import Job
from bench.core.spec import EMBEDDING, CellSpec
from bench.core.variants import find_variant
from bench.harness import shared_fits
from leaderboard.narrow import WIDTH
from leaderboard.papers import checked
from leaderboard.papers.declared import load_declared
from leaderboard.papers.differences import pair_cells
from leaderboard.papers.reported import ReportedError, load_table, table_names
from leaderboard.papers.study import list_needs, pair_rows, study_table, summarise
from leaderboard.papers.study_block import lay_out_block
from leaderboard.papers.study_page import lay_out_study
from leaderboard.papers.study_text import tell_study
from leaderboard.rendering import render
from metrics.embedding import EMBEDDING as ENCODER
from metrics.protocols import PROTOCOLS

LOAD = checked.load_checked
PAPERS = [name for name in table_names() if name.startswith(("sam_net.", "cine_neuron."))]
SUBJECTS, CONCEPTS, CLIPS, SEEDS = 4, 15, 2, 5
# what is lost at the encoder: surely, surely the other way, surely nothing, and what cannot be told
LOST = {"wo_hrt": 0.1, "wo_frontal": -0.1, "wo_central": 0.0, "wo_temporal": 0.0, "wo_hrt_matched": 0.04}
VIDEO = ("video_2way", "video_40way", "frame_2way", "frame_40way", "ssim")
NOISE = {"wo_temporal": 0.9}  # of a trial; .06 of the others


class Shelf:
    """Scores of hand at both levels: `lost` is base − variant, in every metric."""

    def __init__(self, surveyed, *, levels=("encoder", "video"), seeds=SEEDS, left_out=()):
        self.jobs = {
            job.spec.key: (job, level)
            for (need, level), jobs in surveyed.jobs.items()
            if level in levels and need.variant not in left_out
            for job in jobs
            if job.spec.seed < seeds
        }

    def find(self, key):
        return key if key in self.jobs else None

    def read(self, keys, protocols):
        return pd.concat([self.rows(*self.jobs[key]) for key in keys], ignore_index=True)

    def rows(self, job, level):
        names = {
            "encoder": [("embedding", "embedding_concept_2way"), ("embedding", "embedding_concept_40way")],
            "video": [("eeg2video", name) for name in VIDEO],
        }[level]
        generator = np.random.default_rng([zlib.crc32(job.variant.encode()), job.spec.seed, level == "video"])
        subject, clip = (one.ravel() for one in np.indices((SUBJECTS, CONCEPTS * CLIPS)))
        lost = LOST.get(job.variant, 0.05) if job.variant != "base" else 0.0
        parts = []
        for protocol, metric in names:
            noise = generator.normal(0, NOISE.get(job.variant, 0.06), subject.shape)
            parts.append(
                pd.DataFrame(
                    {
                        "cell": job.spec.key,
                        "seed": job.spec.seed,
                        "parameters": 1000 + len(job.variant),
                        "phantom": True,
                        "protocol": protocol,
                        "metric": metric,
                        "method": job.spec.method,
                        "variant": job.variant,
                        "split": job.spec.split,
                        "subject": subject,
                        "clip": clip,
                        "concept": clip // CLIPS,
                        "value": 0.6 - lost + 0.05 * np.sin(clip) + noise,
                        "shuffled": 0.1,
                    }
                )
            )
        return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def surveyed(phantom):
    options = {"dataset": "phantom_eeg:tiny", "suite": "mini", "profile": "mini", "seeds": SEEDS, "hardware": {}}
    return door.survey("sam_net.3", make=False, **options)[0]


@pytest.fixture(scope="module")
def decided(surveyed):
    return study_table(surveyed, Shelf(surveyed), lambda dataset, figure: [0.01, 0.02, 0.06])


def test_every_difference_of_both_papers_is_declared():
    declared = load_declared()
    claims = {name: list_needs(load_table(name), None, "mini") for name in PAPERS}
    variants = {(need.method, need.variant) for pairs in claims.values() for need, _ in pairs}
    assert variants == set(declared.rows)
    assert sum(len(pairs) for pairs in claims.values()) == 9 + 4 + 1 + 3 + 2 + 1
    for method, variant in variants:
        assert method in BUILT_IN["methods"] and find_variant(method, variant)
    metrics = {metric.name for protocol in (*PROTOCOLS.values(), ENCODER) for metric in protocol.metrics}
    named = {*declared.margins, *declared.primary, *declared.encoder, *declared.encoder.values()}
    assert named <= metrics, named - metrics


def test_a_table_is_decided_on_the_data_that_is_declared():
    for name, dataset in load_declared().data.items():
        stand_ins, declared = (list_needs(load_table(name), one, "mini") for one in (None, dataset))
        assert [(need.method, need.variant) for need, _ in declared] == [(n.method, n.variant) for n, _ in stand_ins]
        assert {need.dataset for pair in declared for need in pair} == {dataset}
        for asked, decided_on in ((None, dataset), (dataset.partition(":")[0], dataset.partition(":")[0])):
            assert set(bench.study(name, dataset=asked, published=True).table["dataset"]) == {decided_on}


def test_a_page_shows_each_difference_where_it_is_decided(decided):
    about = {"table": "sam_net.3", "columns": "Video-based 2-way", "rows": "A,G"}
    _, _, *lines = lay_out_block(about, decided, "README.md")
    by = decided[decided["column"] == "Video-based 2-way"].set_index("variant")
    for line, variant, level in zip(lines, ("wo_hrt", "wo_latent"), ("encoder", "video"), strict=True):
        told = [float(number) for number in re.findall(r"-?\d*\.\d+", line[1].partition(", no effect")[0])]
        assert told == pytest.approx(
            [by.loc[variant, f"{level}_{one}"] for one in ("difference", "low", "high")], abs=6e-4
        )
        assert f"`{variant}` ({SEEDS} × {SUBJECTS} × {CONCEPTS * CLIPS})" in line[0]


def test_what_is_declared_wrongly_is_refused(tmp_path):
    text = 'seeds = 5\nlevel = .05\nprimary = []\n[data]\n[margins]\n[encoder]\n[rows.a]\nb = { read_at = "nowhere" }\n'
    (tmp_path / "study.toml").write_text(text.replace(".05", "0.05"), encoding="utf-8")
    with pytest.raises(ReportedError, match="read_at encoder or video"):
        load_declared(tmp_path / "study.toml")


def test_planted_effects_are_found_and_planted_zeros_bounded(decided):
    """By what the scores were made of: HRT agrees, frontal is the other way, central nothing, temporal too noisy."""
    at = decided[decided["column"] == "Video-based 2-way"].set_index("variant")
    assert at["decided_at"].tolist() == ["encoder"] * 6 + ["video"] * 3
    assert at.loc["wo_hrt", "verdict"] == at.loc["wo_hrt", "new_verdict"] == "agrees"
    assert at.loc["wo_hrt", "encoder_difference"] == pytest.approx(0.1, abs=0.02)
    assert at.loc["wo_frontal", "verdict"] == "disagrees"
    bound = at.loc["wo_central", "encoder_bound"]
    assert at.loc["wo_central", "verdict"] == f"no effect larger than {bound:.2g}" and bound <= 0.02
    assert at.loc["wo_temporal", "verdict"] == "undecided"
    assert "seeds" in at.loc["wo_temporal", "needs"] or "clips" in at.loc["wo_temporal", "needs"]
    assert at.loc["wo_latent", "verdict"] == "agrees" and np.isnan(at.loc["wo_latent", "matched_difference"])
    matched = at.loc["wo_hrt"]
    assert matched["matched_difference"] == pytest.approx(0.04, abs=0.02)
    assert matched["matched_parameters_ratio"] == pytest.approx(1014 / 1004)
    assert matched["matched_low"] < matched["matched_difference"] < matched["matched_high"]
    assert (decided.loc[decided["column"] == "SSIM", "decided_at"] == "video").all()
    assert at.loc["wo_frontal", ["planted", "linear"]].tolist() == pytest.approx([0.03, 0.03])
    assert at.loc["wo_frontal", "planted_low"] < 0.03 < at.loc["wo_frontal", "planted_high"]


def test_holm_is_over_the_tests_of_the_table_primary_ones_apart(decided):
    """Two columns read by one metric of the encoder are one test."""
    tests = decided[decided["primary"].astype(bool)].drop_duplicates(["variant", "decided_by"])
    p = [row[f"{row['decided_at']}_p"] for _, row in tests.iterrows()]
    assert len(p) == 6 + 3 * 2
    order = np.argsort(p)
    expected = np.minimum(np.maximum.accumulate(np.array(p)[order] * np.arange(len(p), 0, -1)), 1)
    found = np.array([row[f"{row['decided_at']}_p_holm"] for _, row in tests.iterrows()])[order]
    assert found == pytest.approx(expected)


def test_what_is_not_there_decides_nothing(surveyed):
    table = study_table(surveyed, Shelf(surveyed, levels=("encoder",), left_out=("wo_hrt",)), lambda *_: [])
    by = table.set_index(["variant", "column"])
    assert by.loc[("wo_hrt", "Video-based 2-way"), "verdict"] == "not run"
    assert by.loc[("wo_latent", "SSIM"), "verdict"] == "not run"
    ssim = by.loc[("wo_central", "SSIM")]
    assert ssim["verdict"] == "undecided" and ssim["needs"].startswith("videos")
    assert by.loc[("wo_central", "Frame-based 40-way"), "verdict"].startswith("no effect")
    once = study_table(surveyed, Shelf(surveyed, seeds=1), lambda *_: [])
    assert set(once["verdict"]) == {"undecided"} and set(once["needs"]) == {"5 seeds"}


def test_text_fits_and_ends_in_a_sentence(decided):
    text = tell_study(decided)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert " ".join(text.splitlines()[-2:]).endswith(summarise(decided)) or text.rstrip().endswith(summarise(decided))
    assert summarise(decided).startswith("Of 45 differences, for these subjects: ")
    for words in ("would need", "matched in size: 0.0", "planted, 40-way of concepts: 0.0300", "disagrees"):
        assert words in text


def test_what_was_checked_stands_below_what_disagrees(decided, tmp_path, monkeypatch):
    """Of the planted disagreements (without frontal, five columns), two are noted, one of them on other data."""
    disagrees = decided[decided["verdict"] == "disagrees"]
    assert [note.count(checked.NOTHING) for note in decided.attrs["notes"]] == [1] * len(disagrees) == [1] * 5
    entry = {"table": "sam_net.3", "row": "B. w/o Frontal", "suite": "mini"}
    noted = [
        {**entry, "column": "Video-based 2-way", "dataset": "phantom_eeg:tiny", "text": "a gain was planted"},
        {**entry, "column": "Frame-based 2-way", "dataset": "seed_dv", "text": "of other data"},
        {**entry, "row": "A. w/o HRT", "column": "SSIM", "dataset": "phantom_eeg:tiny", "text": "of no disagreement"},
    ]
    lines = [line for one in noted for line in ("[[checked]]", *(f"{key} = {json.dumps(one[key])}" for key in one))]
    (tmp_path / "checked.toml").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setattr(checked, "load_checked", lambda: LOAD(tmp_path / "checked.toml"))
    notes = list(checked.tell_checked("sam_net.3", disagrees))
    assert notes[0] == "B. w/o Frontal, Video-based 2-way disagrees: a gain was planted"
    assert [note.endswith(checked.NOTHING) for note in notes] == [False, True, True, True, True]
    table = decided.copy()
    table.attrs["notes"] = notes
    text, page = tell_study(table), render(lay_out_study(table))
    assert notes[0] in " ".join(text.split()) and text.rstrip().endswith(summarise(table).split()[-1])
    assert notes[0] in page.splitlines() and "of other data" not in text + page
    (tmp_path / "checked.toml").write_text("\n".join(lines[:7] * 2), encoding="utf-8")
    with pytest.raises(ReportedError, match=r"two entries of sam_net\.3, B\. w/o Frontal"):
        checked.load_checked()
    (tmp_path / "checked.toml").write_text("\n".join(lines[:5]), encoding="utf-8")
    with pytest.raises(ReportedError, match="must hold column, dataset, row, suite, table, text"):
        checked.load_checked()


def test_what_was_checked_is_of_differences_that_a_paper_claims():
    for table, row, column, dataset, _ in checked.load_checked():
        claimed = [(one, other) for one, other, *_ in pair_cells(load_table(table))]
        assert (row, column) in claimed and dataset.partition(":")[0] in BUILT_IN["datasets"]


def test_only_whole_seeds_are_paired():
    base = pd.DataFrame(
        [
            {"seed": seed, "subject": subject, "clip": clip, "concept": clip, "value": 1.0 + seed, "shuffled": 0.0}
            for seed in (0, 1)
            for subject in (1, 2)
            for clip in range(4)
        ]
    ).assign(parameters=2, phantom=True, method="m", variant="base", split="s")
    variant = base.assign(value=base["value"] - 0.25 - 0.5 * base["seed"], variant="v")
    assert pair_rows(base, variant, "v").parts.mean == pytest.approx(0.5)
    cut = variant[(variant["seed"] == 0) | (variant["subject"] == 1)]
    found = pair_rows(base, cut, "v")
    assert found.parts.mean == pytest.approx(0.25) and found.parts.seeds.levels == 1


class Cell:
    def __init__(self, path, weights):
        self.path, self.weights = path, weights


class Cells:
    """A store of nothing but names: key: whether weights were kept."""

    def __init__(self, there, folder):
        self.there, self.folder = there, folder

    def find(self, key):
        return Cell(self.folder / key, {} if self.there[key] else None) if key in self.there else None


def job(seed=0, output="", **parameters):
    about = dict.fromkeys(("dataset", "data_digest", "suite", "suite_digest", "split", "fold", "source"), "x")
    spec = CellSpec(**about, classes=40, method="sam_net", method_version=5, parameters=parameters, seed=seed,
                    output=output, rules={}, settings={})  # fmt: skip
    return Job(spec=spec, variant="v", role="method", data_root=None, protocols=())


def test_rows_that_differ_in_drawing_alone_share_one_fit(tmp_path):
    base, embedded, drawn = job(), job(output=EMBEDDING), job(use_latents=False)
    other, again = job(encoder="plain"), job(seed=1)
    jobs = [embedded, other, drawn, base, again]
    shared = shared_fits.share_fits(jobs, jobs, Cells({}, tmp_path))
    keeper = next(one for one in shared.first if one.keep_weights)
    assert not keeper.spec.output and len(shared.first) == 3 and shared.fits == 3
    waiting = {one.spec.key for one, _ in shared.then}
    assert waiting | {keeper.spec.key} == {base.spec.key, embedded.spec.key, drawn.spec.key}
    assert {key for _, key in shared.then} == {keeper.spec.key}
    ready, lost = shared_fits.give(shared.then, Cells({keeper.spec.key: True}, tmp_path))
    assert {one.weights for one in ready} == {str(tmp_path / keeper.spec.key / "weights")} and not lost
    ready, lost = shared_fits.give(shared.then, Cells({}, tmp_path))
    assert not ready and len(lost) == 2 and keeper.spec.key in lost[0]


def test_a_run_that_was_broken_off_goes_on_from_the_weights_that_are_there(tmp_path):
    base, drawn, more = job(), job(use_latents=False), job(use_keyframe=False)
    kept = shared_fits.share_fits([drawn, more], [base, drawn, more], Cells({base.spec.key: True}, tmp_path))
    assert [one.weights for one in kept.first] == [str(tmp_path / base.spec.key / "weights")] * 2 and kept.fits == 0
    without = shared_fits.share_fits([drawn, more], [base, drawn, more], Cells({base.spec.key: False}, tmp_path))
    assert without.fits == 1 and [key for _, key in without.then] == [without.first[0].spec.key]
    scored = shared_fits.share_fits([base, drawn], [base, drawn], Cells({base.spec.key: True}, tmp_path))
    assert [one.weights is None for one in scored.first] == [True, False] and scored.fits == 0, (
        "the base lacks scores alone"
    )


def test_a_dry_run_says_what_is_made_and_shared(tmp_path, phantom, capsys):
    out = io.StringIO()
    with redirect_stdout(out):
        assert main(["run", "--paper", "sam_net.3", "--study", "--quick", "--dry-run", "--runs", str(tmp_path)]) == 0
    said, lines = capsys.readouterr().err, out.getvalue().splitlines()
    assert "17 cells, 17 to do, by 13 fits (4 cells wait for one that they share)" in said
    assert len(lines) == 17 and sum("fit of" in line for line in lines) == 4
    assert not [line for line in lines if " video " in line and "wo_hrt" in line]


def test_the_command_hands_on_all_that_it_was_given(tmp_path, phantom, monkeypatch, capsys):
    """No cell is made; the call by which they are is the real one."""
    made = []
    monkeypatch.setattr(study_run.names, "check_loggers", lambda log: None)  # whose packages need not be there
    monkeypatch.setattr(study_run, "make_cells", lambda todo, planned, runs, **how: made.append((len(todo), how)) or ())
    words = ["run", "--paper", "sam_net.3", "--study", "--quick", "--runs", str(tmp_path), "--jobs", "1"]
    assert main([*words, "--time-limit", "2h", "--log", "tensorboard"]) == 1, "the rows that wait for a fit have none"
    how = {"jobs": 1, "threads": 1, "time_limit": 7200.0, "scheduler": None, "log": ("tensorboard",)}
    assert made == [(13, how)]
    assert "the fit that it shares" in " ".join(capsys.readouterr().err.split())


def test_by_command(capsys):
    """Of what is committed: no embedding is; machine formats have every column."""
    assert main(["table", "--paper", "sam_net.4", "--study", "--published", "--format", "json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert len(records) == 20 and {"new_verdict", "encoder_bound", "planted", "needs"} <= set(records[0])
    zero = [one for one in records if one["variant"] == "wo_csa"]
    assert {one["planted"] for one in zero} == {0.0} and "independent" in zero[0]["planted_what"]
    for words, said in (
        (["run", "--method", "sam_net", "--study"], "--paper"),
        (["table", "--study"], "--paper"),
        (["table", "--paper", "sam_net.4", "--study", "--differences"], "ask for one"),
        (["audit", "--study", "--dataset", "phantom_eeg"], "simulates scores"),
    ):
        assert main(words) == 1 and said in capsys.readouterr().err
