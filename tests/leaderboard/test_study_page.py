"""The study of committed results: both levels are read, and the page of all tables counts what came of it."""

from __future__ import annotations

import types

import numpy as np
import pandas as pd
import pytest
from test_results import make_cell

import bench
from bench.core.spec import CellSpec
from bench.core.variants import find_variant
from leaderboard.papers.declared import load_declared
from leaderboard.papers.study import summarise
from leaderboard.papers.study_page import count_verdicts, lay_out_study, price, tell_counts
from leaderboard.papers.study_text import tell_study
from leaderboard.results import Committed, publish

SEEDS, SUBJECTS, CLIPS = 5, (1, 2, 3), np.arange(8)
# what is lost of the base: at the encoder in 2-way and 40-way, at the videos in SSIM
LOST = {"wo_hrt": 0.1, "wo_central": 0.0, "wo_latent": 0.05}


def make(variant, seed, output, precision="fp32"):
    """A cell of SAM-Net as it would be committed, and its scores: .6 less what is lost, each a little otherwise."""
    about = {
        "dataset": "phantom_eeg", "data_digest": "d" * 64, "split": "cross_subject", "fold": "all", "classes": 40,
        "method": "sam_net", "method_version": 5, "parameters": find_variant("sam_net", variant), "suite": "mini",
        "suite_digest": "s" * 64, "seed": seed, "output": output,
    }  # fmt: skip
    spec = CellSpec(**about, settings={} if precision == "fp32" else {"precision": precision})
    cell = make_cell(spec.key, **spec.as_dict())
    cell.manifest |= {"variant": variant, "phases": {"fit": 3600.0, "embed" if output else "reconstruct": 360.0}}
    cell.manifest |= {"provenance": {"threads": 2}}
    if output:
        cell.manifest["embedding"] = {"space": "words", "width": 8, "concepts": 4}
    metrics = ("embedding_concept_2way", "embedding_concept_40way") if output else ("ssim",)
    subject, clip = (one.ravel() for one in np.meshgrid(SUBJECTS, CLIPS))
    value = 0.6 - LOST.get(variant, 0.0) + 0.001 * (variant != "base") * np.cos(7 * clip + subject + 3 * seed)
    rows = [
        pd.DataFrame(
            {
                "cell": spec.key, "protocol": "embedding" if output else "eeg2video", "metric": metric, "status": "ok",
                "subject": subject, "clip": clip, "concept": clip // 2, "value": value, "shuffled": 0.5,
            }
        )
        for metric in metrics
    ]  # fmt: skip
    return cell, pd.concat(rows, ignore_index=True)


def publish_seeds(folder, seeds, precisions=types.MappingProxyType({})):
    """So many seeds of two variants at the encoder and of one at the videos, with their bases, in their precisions."""
    at = {"": ("base", "wo_latent"), "embedding": ("base", "wo_hrt", "wo_central")}
    made = [
        make(one, seed, output, precisions.get(one, "fp32"))
        for output, some in at.items()
        for one in some
        for seed in range(seeds[output])
    ]
    publish([cell for cell, _ in made], pd.concat([rows for _, rows in made], ignore_index=True), folder)


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    publish_seeds(folder, {"": SEEDS, "embedding": SEEDS})
    return {name: bench.study(name, results=folder) for name in ("sam_net.3", "sam_net.4")}, Committed(folder)


@pytest.fixture(scope="module")
def studies(studied):
    return {name: study.table for name, study in studied[0].items()}


def test_both_levels_of_what_is_committed_are_read(studies):
    by = studies["sam_net.3"].set_index(["variant", "column"])
    for column in ("Video-based 2-way", "Frame-based 40-way"):
        hrt, central = by.loc[("wo_hrt", column)], by.loc[("wo_central", column)]
        subject, clip, seed = np.meshgrid(SUBJECTS, CLIPS, range(SEEDS))
        planted = 0.1 - 0.001 * np.cos(7 * clip + subject + 3 * seed).mean()
        assert hrt["encoder_difference"] == pytest.approx(planted, abs=1e-6) and hrt["verdict"] == "agrees"
        assert (hrt["seeds"], hrt["subjects"], hrt["clips"]) == (5, 3, 8) and np.isnan(hrt["video_difference"])
        assert central["verdict"].startswith("no effect larger than") and central["encoder_bound"] <= 0.002
    latent = by.loc[("wo_latent", "SSIM")]
    assert latent["video_difference"] == pytest.approx(0.05, abs=1e-3) and latent["verdict"] == "agrees"
    assert np.isnan(latent["encoder_difference"])
    assert by.loc[("wo_hrt", "SSIM"), "verdict"] == "undecided"  # no video of it is made
    assert set(studies["sam_net.4"]["verdict"]) <= {"not run", "undecided"}


def test_verdicts_are_counted_table_by_table_and_together(studies):
    """By hand: HRT and central are decided in four columns, latents in SSIM alone; the rest is not there."""
    counts = count_verdicts(studies).set_index("table")
    assert counts.loc["sam_net.3"].tolist() == ["45", "5", "", "4", "6", "30"]
    assert counts.loc["sam_net.4", "differences"] == "20"
    assert int(counts.loc["all", "differences"]) == 65 and counts.loc["all", "agrees"] == "5"
    head = "\n".join(tell_counts(studies))
    assert head.startswith(summarise(pd.concat(studies.values()))) and "| all       | 65" in head
    assert "Of 65 differences, for these subjects" in head and "5 agrees" in head


def test_a_study_costs_what_its_cells_took_and_a_shared_cell_once(studied, studies):
    """By hand: base and wo_hrt and wo_central at the encoder, base and wo_latent at the videos, five seeds of each; of
    these sam_net.4 reads the base alone."""
    found, committed = studied
    prices = {name: price(study.survey, committed.manifests()) for name, study in found.items()}
    assert {len(some) for some in prices.values()} == {25, 10}
    assert list(prices["sam_net.3"].values()) == pytest.approx([2 * 1.1] * 25)
    counts = count_verdicts(studies, prices).set_index("table")
    assert counts["core-hours"].tolist() == ["55.00", "22.00", "55.00"]
    assert "core-hours" in "\n".join(tell_counts(studies, prices))


def test_the_page_has_a_line_for_each_difference(studies):
    laid = lay_out_study(studies["sam_net.3"]).set_index(["row", "column"])
    assert len(laid) == 45
    hrt = laid.loc[("A. w/o HRT", "Video-based 2-way")]
    assert hrt["at the encoder"].startswith("0.100 [0.") and hrt["at the videos"] == "" and hrt["paper"] == "0.0640"
    assert hrt["decided at"] == "the encoder" and hrt["verdict"] == "agrees" and hrt["would need"] == ""
    assert hrt["seeds × subjects × clips"] == "5 × 3 × 8"
    ssim = laid.loc[("A. w/o HRT", "SSIM")]
    assert ssim["verdict"] == "undecided" and ssim["would need"].startswith("videos") and ssim["at the encoder"] == ""


def test_what_rests_on_fewer_seeds_than_declared_says_so(studies, tmp_path):
    """Three seeds of the videos where five are declared: SSIM without latents is the one verdict that they give."""
    publish_seeds(tmp_path, {"": 3, "embedding": SEEDS})
    table = bench.study("sam_net.3", results=tmp_path).table
    few = table[(table["seeds"] < table["seeds_declared"]).fillna(False)]
    assert few[["variant", "column"]].to_numpy().tolist() == [["wo_latent", "SSIM"]]
    assert set(table["seeds_declared"]) == {load_declared().seeds} == {5}
    laid = lay_out_study(table).set_index(["row", "column"])["verdict"]
    assert (
        laid["G. w/o Latent", "SSIM"] == "agrees (3 of 5 seeds)" and laid["A. w/o HRT", "Video-based 2-way"] == "agrees"
    )
    assert laid.str.contains("seeds").sum() == 1
    end = "; 1 of these verdicts rest on fewer seeds than the 5 declared."
    assert summarise(table).endswith(end) and end in next(tell_counts({"sam_net.3": table}))
    text = tell_study(table)
    assert text.count("by 3 of 5 seeds") == 1 and " ".join(text.split()).endswith(end)
    for whole in studies.values():
        assert "fewer" not in summarise(whole) and " of 5 seeds" not in tell_study(whole)
        assert not lay_out_study(whole)["verdict"].str.contains("seeds").any()
    assert "fewer" not in summarise(table.assign(seeds_declared=3)), "by such a declaration three are all"
    assert "fewer" not in summarise(table.assign(verdict="undecided")), "nothing rests on them"


def test_committed_cells_in_another_precision_are_left_out_and_named(tmp_path):
    """HRT's row alone in bf16: neither precision has a pair of it with the base, and each says what it leaves out."""
    publish_seeds(tmp_path, {"": SEEDS, "embedding": SEEDS}, {"wo_hrt": "bf16"})
    for precision, others in (("fp32", "bf16: sam_net:wo_hrt"), ("bf16", "fp32: sam_net, sam_net:wo_central, sam_net")):
        study = bench.study("sam_net.3", results=tmp_path, precision=precision)
        verdicts = study.table.set_index(["variant", "column"])["verdict"]
        assert verdicts["wo_hrt", "Video-based 2-way"] == "not run"
        central = verdicts["wo_central", "Video-based 2-way"]
        assert central.startswith("no effect") if precision == "fp32" else central == "not run"
        (note,) = study.notes
        kind, names = others.split(": ", 1)
        assert note.startswith(f"made in {kind}, and left out: {names}") and f"`--precision {kind}`" in note
    table = bench.paper_table("sam_net.3", results=tmp_path, precision="bf16")
    assert table.records["cells_there"].fillna(0).sum() == 0, "the videos are exact"
    assert table.notes == ("made in fp32, and left out: sam_net, sam_net:wo_latent; `--precision fp32` chooses it",)
    everything = dict.fromkeys(("base", "wo_hrt", "wo_central", "wo_latent"), "bf16")
    publish_seeds(tmp_path / "bf16", {"": SEEDS, "embedding": SEEDS}, everything)
    study = bench.study("sam_net.3", results=tmp_path / "bf16", precision="bf16")
    assert study.notes == () and study.table["verdict"].value_counts()["agrees"] == 5
