"""Tables of variants beside their base, and of subjects who saw different clips, from made-up scores."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scored_cells import CLIPS, CLIPS_A_CONCEPT, REQUIRED, draw, make_parts, panel, score_rows, select

from leaderboard.ablations import ablation_table
from leaderboard.stats.intervals import mean_interval, paired_difference
from leaderboard.stats.panels import TableError
from leaderboard.tables import result_table


@pytest.fixture
def parts():
    return make_parts()


@pytest.fixture
def ablation(parts):
    """A base, a variant that is 0.1 worse, and one that is the same but for noise; three seeds each."""
    rng = np.random.default_rng(3)
    base = draw(rng, 0.4)
    cells = [parts["train_mean"], parts["codec"]]
    for seed in range(3):
        cells.append(score_rows(base + rng.normal(0, 0.01, base.shape), seed=seed))
        worse = score_rows(base - 0.1 + rng.normal(0, 0.01, base.shape), variant="wo_eye", seed=seed)
        cells.append(worse.assign(parameters=800))
        cells.append(score_rows(base + rng.normal(0, 0.01, base.shape), variant="wo_ear", seed=seed))
    return pd.concat(cells, ignore_index=True)


def test_ablation_rows(ablation):
    table = ablation_table(ablation, "base", ["wo_eye", "wo_ear"])
    assert table["variant"].tolist() == ["base", "wo_eye", "wo_ear"]
    assert set(REQUIRED.split()) <= set(table.columns)
    base, eye, ear = (row for _, row in table.iterrows())
    tables = {v: panel(rows) for v, rows in ablation[ablation["role"] == "method"].groupby("variant")}
    interval = paired_difference(tables["base"], tables["wo_eye"], np.arange(CLIPS) // CLIPS_A_CONCEPT)
    assert eye["difference"] == pytest.approx(base["value"] - eye["value"])
    assert (eye["difference_to_base_low"], eye["difference_to_base_high"]) == pytest.approx(
        (interval.low, interval.high)
    )
    assert eye["difference"] == pytest.approx(0.1, abs=0.01) and eye["verdict"] == "worse than base"
    assert ear["verdict"] == "not distinguished" and ear["p_holm"] == ear["p"]
    assert eye["p_holm"] == pytest.approx(2 * eye["p"])
    assert 0 < eye["smallest_detectable"] < 0.1
    assert (eye["parameters_ratio"], base["parameters_ratio"]) == (0.8, 1.0)
    assert pd.isna(base["difference"]) and pd.isna(base["p_holm"])
    assert base["floor_name"] == "train_mean" and (table["seeds"] == 3).all()
    by_seed = ablation[ablation["role"] == "method"].groupby(["variant", "seed"])["value"].mean().unstack("variant")
    assert eye["seed_sd"] == pytest.approx((by_seed["base"] - by_seed["wo_eye"]).std())


def test_too_few_seeds_call_no_difference(ablation):
    few = ablation[(ablation["seed"] == 0) | ((ablation["seed"] == 1) & (ablation["variant"] == "base"))]
    table = ablation_table(few, "base", ["wo_eye", "wo_ear"])
    assert table["warning"].tolist()[1:] == ["needs 3 seeds, 1 seeds not in both"] * 2
    assert table["verdict"].tolist()[1:] == ["", ""]
    row, base = table.iloc[1], few[(few["seed"] == 0) & (few["variant"] == "base") & (few["role"] == "method")]
    assert row["difference"] == pytest.approx(base["value"].mean() - row["value"])  # over the common seed alone


@pytest.mark.parametrize(
    ("spoil", "variants", "words"),
    [
        (lambda rows: rows, ["wo_nose"], "no scores of variant 'wo_nose'; there are scores of base, wo_eye, wo_ear"),
        (lambda rows: rows, ["wo_eye", "wo_eye"], "name each once"),
        (
            lambda rows: rows[(rows["variant"] != "wo_eye") | (rows["subject"] != 6)],
            ["wo_eye"],
            "5 subjects × 12 clips",
        ),
        (
            lambda rows: rows.assign(seed=rows["seed"] + 10 * (rows["variant"] == "wo_eye")),
            ["wo_eye"],
            r"seeds \[10, 11, 12\] and its base \[0, 1, 2\]",
        ),
    ],
)
def test_ablations_that_cannot_be_compared(ablation, spoil, variants, words):
    with pytest.raises(TableError, match=words):
        ablation_table(spoil(ablation), "base", variants)


def test_groups_of_subjects_who_saw_different_clips():
    """As in CineBrain: two groups with test clips of their own are two independent tables, weighted by subjects."""
    rng = np.random.default_rng(1)
    tables = [draw(rng, 0.4, 4), draw(rng, 0.3, 2)]
    groups = [
        score_rows(tables[0], subjects=(1, 2, 3, 6)),
        score_rows(tables[1], subjects=(4, 5)).assign(clip=lambda rows: rows["clip"] + CLIPS),
    ]
    floors = draw(rng, 0.2, 1), draw(rng, 0.25, 1)
    floor = score_rows(np.hstack(floors), method="train_mean", role="control", split="clips")
    noise = pd.concat(groups).assign(method="noise_brain", role="control", value=0.01)
    row = select(result_table(pd.concat([*groups, floor, noise])), "sam_net")
    concepts = np.arange(CLIPS) // CLIPS_A_CONCEPT
    parts = [mean_interval(table, concepts) for table in tables]
    assert row["value"] == pytest.approx((4 * parts[0].mean + 2 * parts[1].mean) / 6)
    se = np.sqrt((4 / 6 * parts[0].se) ** 2 + (2 / 6 * parts[1].se) ** 2)
    assert 2 * se < row["high"] - row["value"] < 3 * se
    assert row["value"] - row["low"] == pytest.approx(row["high"] - row["value"])
    assert row["floor"] == pytest.approx((4 * floors[0].mean() + 2 * floors[1].mean()) / 6)
    assert (row["floor_name"], row["n_subjects"], row["n_clips"]) == ("train_mean", 6, 2 * CLIPS)
    both = [part.assign(variant="worse", value=part["value"] - 0.1) for part in groups]
    compared = ablation_table(pd.concat([*groups, *both, floor]), "base", ["worse"])
    assert compared["difference"].iloc[1] == pytest.approx(0.1)
    with pytest.raises(TableError, match="subject 1 has no row for clip 12"):
        result_table(pd.concat([*groups, score_rows(tables[0][:1], subjects=(4,)).iloc[-1:]]))
