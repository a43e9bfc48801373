"""Methods that choose voxels by region refuse data in which nobody says where a voxel is; no name is made up."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from baselines.glfa.method import name_regions
from baselines.glfa.parameters import Parameters as GlfaParameters
from bench.core.contracts import UNKNOWN_REGION
from bench.core.errors import UnknownRegion
from bench.datasets.cinebrain import layout as cinebrain
from bench.toolbox.voxels import NoVoxels, choose_voxels
from methods.cine_neuron.voxels import choose_inputs

ROIS = {1: ("V1", "auditory", "hippocampus"), 2: ("V1", "V2")}


def make_data(rois: dict[int, tuple[str, ...]]) -> Any:
    return SimpleNamespace(subject=np.array([1, 2, 2]), rois=rois, brain=np.zeros((3, 3, 1), np.float32))


def test_regions_are_left_out_by_name_and_what_the_method_usually_leaves_out_need_not_be_there() -> None:
    chosen = choose_voxels(make_data(ROIS), leave_out=("Auditory", "mPFC"), usual=("auditory", "mPFC", "Auditory"))
    assert chosen[1].tolist() == [0, 2] and chosen[2].tolist() == [0, 1]
    with pytest.raises(NoVoxels, match="subject 2 has no voxel outside V1, V2"):
        choose_voxels(make_data(ROIS), leave_out=("V1", "V2"))


def test_a_variant_about_a_region_that_is_not_there_is_refused() -> None:
    with pytest.raises(UnknownRegion, match="region MT is not in this data, which has auditory, hippocampus, v1, v2"):
        choose_voxels(make_data(ROIS), leave_out=("MT", "auditory"), usual=("auditory",))
    with pytest.raises(UnknownRegion, match="no regions at all"):
        choose_voxels(make_data({}), leave_out=("MT",))


@pytest.mark.parametrize("unknown", [{2: (UNKNOWN_REGION,) * 2}, {}])
def test_one_subject_without_a_file_of_regions_is_named(unknown: dict[int, tuple[str, ...]]) -> None:
    data = make_data({1: ROIS[1], **unknown})
    with pytest.raises(UnknownRegion, match="of subject 2 nobody says which voxel is in which region; write the file"):
        choose_voxels(data, leave_out=("auditory",), usual=("auditory",))
    with pytest.raises(UnknownRegion, match="subject 2"):
        choose_inputs(data, noise_rois=("hippocampus",))
    with pytest.raises(UnknownRegion, match="subject 2"):
        name_regions(data, GlfaParameters())
    assert choose_voxels(data, leave_out=())[1].tolist() == [0, 1, 2]  # all voxels: nothing to know


def test_a_map_that_is_local_in_regions_needs_more_than_one() -> None:
    data = make_data({1: ("visual",) * 3, 2: ("visual",) * 2})
    with pytest.raises(UnknownRegion, match=r"has visual; write the file .*local_patches=0"):
        name_regions(data, GlfaParameters())
    assert set(name_regions(data, GlfaParameters(local_patches=0))) == {1, 2}
    assert name_regions(make_data(ROIS), GlfaParameters()) == ROIS


@pytest.mark.parametrize(("voxels", "region"), [(8405, "visual"), (18946, UNKNOWN_REGION), (7, UNKNOWN_REGION)])
def test_only_a_file_of_visual_cortex_alone_is_known_without_names(
    voxels: int, region: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub-0001_train_va.json").write_text("[]")
    view = cinebrain.CineBrain(tmp_path, cache=tmp_path)
    monkeypatch.setattr(cinebrain.CineBrain, "_example", lambda *_: np.zeros((voxels, 1)))
    assert set(view.rois[1]) == {region} and len(view.rois[1]) == voxels
    (tmp_path / "sub-0001_rois.txt").write_text("V1\n" * voxels)
    assert set(cinebrain.CineBrain(tmp_path, cache=tmp_path).rois[1]) == {"V1"}
