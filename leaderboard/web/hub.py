"""The committed scores of every clip as a `datasets` data set, ready for the Hugging Face hub.

    README.md                              the card: licence, configurations, what each column and metric means
    <data set>/<split>.parquet             a row a score

`datasets.load_dataset(folder)` reads all, `load_dataset(folder, "phantom_eeg", split="cross_subject")` a part. The same
results give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import DatasetCardData

from leaderboard.rendering import render
from metrics.known import KNOWN_PROTOCOLS
from metrics.protocols import Protocol

LICENCE = "apache-2.0"
ALL = "all"  # the configuration of all data sets together
# column -> (type, unit, meaning), in the order of the files
COLUMNS: Mapping[str, tuple[str, str, str]] = {
    "dataset": ("string", "", "the data set; `phantom_*` is synthetic, `:tiny` and the like its size"),
    "phantom": ("bool", "", "whether the recordings are synthetic: then a score says nothing about a brain"),
    "split": ("string", "", "single_subject, cross_subject, new_subject; clips for what sees no brain"),
    "fold": ("string", "", "the fold of the split, such as sub03"),
    "classes": ("int32", "concepts", "the subset of concepts that is tested; 40 is all of them"),
    "method": ("string", "", "the method, baseline, control or ceiling"),
    "variant": ("string", "", "`base`, or a named change of its parameters"),
    "role": ("string", "", "method, baseline (sees the brain), control (a floor: sees none), ceiling (cheats openly)"),
    "parameters": ("int64", "weights", "trained parameters"),
    "suite": ("string", "", "the frozen pretrained networks and judges; `mini` is small and knows drawn clips only"),
    "seed": ("int32", "", "seed of the training"),
    "cell": ("string", "", "the run that made the video: digest of all that determines it"),
    "protocol": ("string", "", "the exact way that the metric is computed"),
    "metric": ("string", "", "the metric; see below"),
    "subject": ("int32", "", "number of the subject; 0 where no brain is seen"),
    "clip": ("int32", "", "row of the clip in the data set's table; -1 for a score of all clips together"),
    "concept": ("int32", "", "row of the clip's concept in the data set's list of them; -1 as above"),
    "status": ("string", "", "ok; missing, broken or invalid videos score the metric's worst value"),
    "value": ("float32", "the metric's", "the score of this clip as this subject saw it"),
    "shuffled": ("float32", "the metric's", "the same with the brain trials permuted, mean over permutations: a floor"),
}
TYPES = {"string": pa.string(), "bool": pa.bool_(), "int32": pa.int32(), "int64": pa.int64(), "float32": pa.float32()}
SCHEMA = pa.schema([(name, TYPES[kind]) for name, (kind, _, _) in COLUMNS.items()])
ORDER = ["classes", "suite", "protocol", "metric", "method", "variant", "seed", "fold", "subject", "clip"]
CARD = """\
# Brain2Video Bench: the score of every clip

How well videos were reconstructed from recordings of brains, clip by clip: {rows:,} scores of {methods} methods,
baselines, floors and ceilings. Averages, intervals and ranks are made of these rows and of nothing else.
{warning}
```python
from datasets import load_dataset

scores = load_dataset("{name}")                                            # all, a split each
scores = load_dataset("{name}", "{first}", split="{split}").to_pandas()
```

Only numbers are here: no recording, no video, no caption. They were computed by Brain2Video Bench
(`python -m bench board --hub DIR` writes this folder) and are free under Apache-2.0; the recordings of people behind
real data sets have licences of their own.

## Columns

{columns}

A mean is taken over the clips of a subject first, then over subjects; seeds inside. Compare two methods on the same
subjects, clips, protocol, suite and classes only. Rows are no independent observations: subjects and clips are crossed.

## Metrics

{metrics}
"""
WARNING = """
> **Phantoms.** {names} hold synthetic recordings of synthetic people who watch drawn clips. Their scores show that a
> method and the harness work. **They say nothing about a brain.** Filter by `phantom` before you say anything of one.
"""


def write_hub(scores: pd.DataFrame, folder: Path, *, name: str = "") -> list[Path]:
    """Write the card and a parquet file a data set and split; return their paths. scores: rows of `read_results`.

    `name` is what the card says to load: the folder's own name, or that of a repository of the hub.
    """
    written = []
    for (dataset, split), rows in scores.groupby(["dataset", "split"]):
        path = folder / name_config(str(dataset)) / f"{split}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_rows(rows, path)
        written.append(path)
    card = folder / "README.md"
    card.write_text(write_card(scores, name or folder.resolve().name), encoding="utf-8")
    return [card, *written]


def name_config(dataset: str) -> str:
    return dataset.replace(":", "-")


def write_rows(rows: pd.DataFrame, path: Path) -> None:
    ordered = rows.sort_values(ORDER, ignore_index=True)[list(COLUMNS)]
    table = pa.Table.from_pandas(ordered, schema=SCHEMA, preserve_index=False).replace_schema_metadata(None)
    floats = ["value", "shuffled"]
    pq.write_table(
        table,
        path,
        compression="zstd",
        use_dictionary=[name for name in COLUMNS if name not in floats],
        use_byte_stream_split=floats,
    )


def write_card(scores: pd.DataFrame, name: str) -> str:
    """The README with its YAML head, from which the hub and `load_dataset` learn what is where."""
    found = scores[["dataset", "split", "phantom"]].drop_duplicates().sort_values(["dataset", "split"])
    splits = {name_config(str(dataset)): sorted(rows["split"].unique()) for dataset, rows in found.groupby("dataset")}
    together = sorted({split for some in splits.values() for split in some})
    configs = [{"config_name": ALL, "default": True, "data_files": list_files("*", together)}]
    configs += [{"config_name": one, "data_files": list_files(one, some)} for one, some in splits.items()]
    head = DatasetCardData(
        license=LICENCE,
        pretty_name="Brain2Video Bench: the score of every clip",
        tags=["brain-to-video", "neuroscience", "EEG", "fMRI", "benchmark", "evaluation"],
        size_categories=[size_category(len(scores))],
        configs=configs,
    )
    phantoms = sorted(found.loc[found["phantom"], "dataset"].unique())
    first = next(iter(splits))
    body = CARD.format(
        rows=len(scores),
        methods=scores["method"].nunique(),
        warning=WARNING.format(names=", ".join(f"`{one}`" for one in phantoms)) if phantoms else "",
        name=name,
        first=first,
        split=next((split for split in splits[first] if split != "clips"), splits[first][0]),
        columns=render(describe_columns(), "md"),
        metrics=render(describe_metrics(scores, KNOWN_PROTOCOLS), "md"),
    )
    return f"---\n{head.to_yaml()}\n---\n\n{body}"


def list_files(folder: str, splits: list[str]) -> list[dict[str, str]]:
    return [{"split": split, "path": f"{folder}/{split}.parquet"} for split in splits]


def describe_columns() -> pd.DataFrame:
    rows = [(f"`{name}`", kind, unit, meaning) for name, (kind, unit, meaning) in COLUMNS.items()]
    return pd.DataFrame(rows, columns=["column", "type", "unit", "meaning"])


def describe_metrics(scores: pd.DataFrame, protocols: Mapping[str, Protocol]) -> pd.DataFrame:
    """A row for each protocol and metric of the scores: direction, bounds, worst value, chance level and meaning."""
    rows = []
    for (protocol, name), _ in scores.groupby(["protocol", "metric"]):
        metric = protocols[str(protocol)][str(name)]
        rows.append(
            {
                "protocol": protocol,
                "metric": f"`{name}`",
                "better": metric.direction,
                "bounds": f"{metric.lo:.4g} to {metric.hi:.4g}".replace("inf", "∞"),
                "missing clip": metric.worst,
                "chance": metric.chance if isinstance(metric.chance, float) else np.nan,
                "what it is (without a unit unless one is named)": metric.summary,
            }
        )
    return pd.DataFrame(rows)


def size_category(rows: int) -> str:
    """The hub's words for a number of rows."""
    steps = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M", 10_000_000: "1M<n<10M"}
    return next((words for most, words in steps.items() if rows < most), "10M<n<100M")
