"""What the panels of a figure show."""

from __future__ import annotations

from typing import Any

import numpy as np


def images(figure: Any) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for axes in figure.axes for image in axes.images]
