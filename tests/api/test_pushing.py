"""Results sent to the hub: what would be sent, by a stand-in of its door. Nothing here has a network."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from huggingface_hub import ModelCard
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

import bench
from bench.cli import main
from leaderboard.results import RESULTS

THEIRS = """\
---
license: mit
model-index:
- name: their name
  results:
  - task: {type: image-classification}
    dataset: {type: imagenet, name: ImageNet}
    metrics: [{type: accuracy, value: 0.5, name: theirs}]
  - task: {type: brain-to-video}
    dataset: {type: phantom_eeg, name: an old one}
    metrics: [{type: ssim, value: 0.9, name: corrected/ssim}]
---

What its author wrote.
"""


class Hub:
    """What `HfApi` would do, for what is used of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.made, self.uploaded = folder, {}, {}
        self.fails: Exception | None = None

    def __call__(self, **about: Any) -> Hub:
        return self

    def create_repo(self, repo_id: str, *, repo_type: str = "model", private: bool, exist_ok: bool) -> None:
        if self.fails:
            raise self.fails
        assert private and exist_ok
        self.made[repo_id] = repo_type

    def upload_folder(self, *, repo_id: str, repo_type: str, folder_path: str, commit_message: str) -> None:
        assert self.made[repo_id] == repo_type == "dataset"
        shutil.copytree(folder_path, self.folder / "sent")

    def file_exists(self, repo_id: str, name: str) -> bool:
        return (self.folder / name).exists()

    def hf_hub_download(self, repo_id: str, name: str) -> str:
        return str(self.folder / name)

    def upload_file(self, *, repo_id: str, path_in_repo: str, path_or_fileobj: bytes, commit_message: str) -> None:
        assert self.made[repo_id] == "model"
        (self.folder / path_in_repo).write_bytes(path_or_fileobj)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub(tmp_path)
    monkeypatch.setattr("huggingface_hub.HfApi", made)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_stand_in")
    return made


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The committed results of one baseline and one floor."""
    place = tmp_path_factory.mktemp("results")
    for path in (
        *RESULTS.glob("phantom_eeg/cross_subject/lda.base.*"),
        *RESULTS.glob("phantom_eeg/clips/random_clip.*"),
    ):
        to = place / path.relative_to(RESULTS)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, to)
    return place


def test_scores_go_to_a_data_set(hub, results, tmp_path):
    assert main(["board", "--push", "me/scores", "--results", str(results)]) == 0
    rows = pd.concat([pd.read_parquet(path) for path in (tmp_path / "sent").rglob("*.parquet")])
    assert set(rows["method"]) == {"lda", "random_clip"} and hub.made == {"me/scores": "dataset"}
    assert 'load_dataset("me/scores")' in (tmp_path / "sent" / "README.md").read_text(encoding="utf-8")


def test_results_go_into_a_card_and_leave_the_rest(hub, results, tmp_path):
    (tmp_path / "README.md").write_text(THEIRS, encoding="utf-8")
    for _ in range(2):  # the second time replaces what the first one wrote
        assert main(["board", "--card", "lda", "--push", "me/lda", "--results", str(results)]) == 0
    card = ModelCard((tmp_path / "README.md").read_text(encoding="utf-8"))
    assert card.data.license == "mit" and card.data.model_name == "their name"
    assert "What its author wrote." in card.text
    first, *ours = card.data.eval_results
    assert first.metric_name == "theirs" and "an old one" not in {one.dataset_name for one in ours}
    board = pd.read_csv(RESULTS.parent / "board.csv").set_index(["method", "split", "dataset"])
    row = board.loc[("lda", "cross_subject", "phantom_eeg")]
    assert len({one.metric_name for one in ours}) == len(ours) >= 3
    for one in ours:
        assert one.metric_value == pytest.approx(row[one.metric_name.removeprefix("corrected/")], rel=1e-5)
        assert "phantom, synthetic" in one.dataset_name


def test_a_card_begins_where_there_is_none(hub, results, tmp_path):
    bench.push_card("lda", "me/new", results=results)
    card = ModelCard((tmp_path / "README.md").read_text(encoding="utf-8"))
    assert card.data.model_name == "lda" and len(card.data.eval_results) >= 3 and card.text.strip() == "# lda"


def test_what_cannot_be_sent_is_told(hub, results, tmp_path, monkeypatch):
    with pytest.raises(bench.BenchError, match="ranked are lda"):
        bench.push_card("sam_net", "me/x", results=results)
    for name in ("scores", "me/my scores", "a/b/c"):
        with pytest.raises(bench.BenchError, match="owner/name"):
            bench.push_scores(name, results=results)
    for failure in (OfflineModeIsEnabled("no route"), HfHubHTTPError.__bases__[0]("no route")):
        hub.fails = failure
        with pytest.raises(bench.BenchError, match=r"was not reached.*no route"):
            bench.push_scores("me/scores", results=results)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(bench.BenchError, match="hf auth login"):
        bench.push_scores("me/scores", results=tmp_path / "nothing")
    assert main(["board", "--card", "lda"]) == 1 and not hub.made
