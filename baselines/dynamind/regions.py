"""Which electrode lies over which region (RSM).

Paper and released code disagree. The paper's ablation takes a *temporal* region away; the code that was released cuts
the list of electrodes into four runs, "frontal", "central", "parietal" and "occipital", and so has none.

- `anatomical`, the default, goes by the names of the 10-10 system: frontal, temporal, parietal and occipital. The paper
  has no central region: FC goes with the frontal, C with the parietal electrodes. P7 and P8, once called T5 and T6, are
  temporal. Of SEED-DV's 62: 21, 8, 21 and 12.
- `released` are the four runs, 0-16, 17-34, 35-50 and 51-61 of 62. FC1 and CP3 are "central", FT8 is too, and PO7 is
  "parietal". Other numbers of electrodes are cut in the same shares; names are not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.core.errors import UnknownElectrode

LAYOUTS: dict[str, tuple[str, ...]] = {
    "anatomical": ("frontal", "temporal", "parietal", "occipital"),
    "released": ("frontal", "central", "parietal", "occipital"),
}
REGION_OF = {
    **dict.fromkeys(("FP", "AF", "F", "FC"), "frontal"),
    **dict.fromkeys(("FT", "T", "TP"), "temporal"),
    **dict.fromkeys(("C", "CP", "P"), "parietal"),
    **dict.fromkeys(("PO", "O", "CB", "I"), "occipital"),
}
LATERAL = ("P7", "P8", "P9", "P10")  # over the temporal lobe, whatever their letter
CUTS = (17 / 62, 35 / 62, 51 / 62)  # of the released runs


def assign_regions(channels: Sequence[str], layout: str) -> dict[str, list[int]]:
    """Indices of the electrodes of each region; every electrode is in exactly one.

    Raises UnknownElectrode where `anatomical` cannot place a name.
    """
    members: dict[str, list[int]] = {region: [] for region in LAYOUTS[layout]}
    if layout == "released":
        edges = [0, *(round(cut * len(channels)) for cut in CUTS), len(channels)]
        for region, start, end in zip(members, edges[:-1], edges[1:], strict=True):
            members[region] = list(range(start, end))
        return members
    for index, channel in enumerate(channels):
        members[find_region(channel)].append(index)
    return members


def find_region(channel: str) -> str:
    """The region of one electrode by its 10-10 name."""
    name = channel.upper()
    if name in LATERAL:
        return "temporal"
    letters = name.rstrip("0123456789").removesuffix("Z")
    if letters not in REGION_OF:
        raise UnknownElectrode(
            f"electrode {channel!r} is over no known region; names begin with one of {', '.join(REGION_OF)} (10-10 "
            "system). Rename the channel, or cut them by their order: --set layout=released"
        )
    return REGION_OF[letters]
