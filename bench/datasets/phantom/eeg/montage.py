"""Where the 62 electrodes sit on the phantom's spherical head.

MNE's standard 10-05 cap, names matched without regard to case. CB1 and CB2 are in no 10-05 cap (MNE would alias them
to POO7 and POO8, others take PO9 and PO10, 4.4 cm away): they are placed by hand below the occipital row, midway
between PO9 and I1, and PO10 and I2.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Float64

from bench.datasets.seed_dv.geometry import CHANNELS

RADIUS = 0.096  # m, of the scalp
SKULL = 0.004  # S/m, as MNE has it: an 80th of the brain's 0.33
REGION_OF = {  # by the letters of an electrode's name
    **dict.fromkeys(("FP", "AF", "F"), "frontal"),
    **dict.fromkeys(("FC", "C"), "central"),
    **dict.fromkeys(("CP", "P"), "parietal"),
    **dict.fromkeys(("FT", "T", "TP"), "temporal"),
    **dict.fromkeys(("PO", "O", "CB"), "occipital"),
}
REGIONS: dict[str, list[int]] = {region: [] for region in ("occipital", "temporal", "parietal", "central", "frontal")}
for _index, _name in enumerate(CHANNELS):
    REGIONS[REGION_OF[_name.rstrip("0123456789").removesuffix("Z")]].append(_index)
PLACED_BY_HAND = {"CB1": ("PO9", "I1"), "CB2": ("PO10", "I2")}


@cache
def electrode_positions() -> Float64[np.ndarray, "62 3"]:
    """Positions in m (right, front, up) on the sphere of `RADIUS` around the origin that fits the cap best."""
    import mne

    # the same cap under its newer name where MNE has it
    names = mne.channels.get_builtin_montages()
    montage = mne.channels.make_standard_montage("colin27_1005" if "colin27_1005" in names else "standard_1005")
    cap = {name.upper(): position for name, position in montage.get_positions()["ch_pos"].items()}
    for name, pair in PLACED_BY_HAND.items():
        cap[name] = (cap[pair[0]] + cap[pair[1]]) / 2
    positions = np.array([cap[name] for name in CHANNELS])
    # |p - c|² = r² is linear in c and r² - |c|²
    system = np.column_stack([2 * positions, np.ones(len(positions))])
    centre = np.linalg.lstsq(system, (positions**2).sum(axis=1), rcond=None)[0][:3]
    directions = positions - centre
    return RADIUS * directions / np.linalg.norm(directions, axis=1, keepdims=True)


def measure_leadfield(
    electrodes: Float64[np.ndarray, "62 3"],
    positions: Float64[np.ndarray, "dipole 3"],
    orientations: Float64[np.ndarray, "dipole 3"],
    skull: float = SKULL,
) -> Float64[np.ndarray, "62 dipole"]:
    """Microvolts at the electrodes for 1 nAm in each dipole: MNE's four-shell sphere, average reference.

    `skull` is the conductivity of the sphere's third shell in S/m.
    """
    import mne

    with mne.utils.use_log_level("ERROR"):
        info = mne.create_info(list(CHANNELS), 200.0, "eeg")
        places = dict(zip(CHANNELS, electrodes, strict=True))
        info.set_montage(mne.channels.make_dig_montage(places, coord_frame="head"))
        sphere = mne.make_sphere_model((0.0, 0.0, 0.0), RADIUS, sigmas=(0.33, 1.0, skull, 0.33))
        count = len(positions)
        ones = np.ones(count)
        dipoles = mne.Dipole(np.arange(count) / 1000.0, positions, ones, orientations, 100 * ones)
        forward, _ = mne.make_forward_dipole(dipoles, sphere, info)
    field = forward["sol"]["data"] * 1e-3  # V / Am -> µV / nAm
    return field - field.mean(axis=0)
