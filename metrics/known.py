"""All protocols of the project by name: those of videos, and that of embeddings.

>>> [name for name in KNOWN_PROTOCOLS if name not in PROTOCOLS]
['embedding']
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping

from metrics.embedding import EMBEDDING
from metrics.protocols import PROTOCOLS, Protocol

KNOWN_PROTOCOLS: Mapping[str, Protocol] = ChainMap({EMBEDDING.name: EMBEDDING}, PROTOCOLS)
