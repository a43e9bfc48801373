"""People's judgement of reconstructions: CineNeuron's Table 3, with anonymous methods, floors and intervals.

    study/page/index.html    give this folder to the raters: true clips, and reconstructions under letters
    study/page/media/        their videos, under names that say nothing
    study/key.json           keep this: which video is of which method

There are two forms, on the paper's four questions. By `ratings` each video is judged by itself, from 1 to 5, beside its
true clip. By `preference`, the paper's (20 people, 360 groups, four methods), the best video of each group is chosen
(`leaderboard.web.preferences`). Which method made a video is not in the page. Clips are those whose hash with the data
set's digest is smallest, as in `leaderboard.figures`. Among the videos of a clip are those of each method's *shuffled
brain*, so that the raters' scores have a floor. Clips and letters come in an order that the rater's id seeds, so
letters mean nothing across clips and raters. Answers are kept in the rater's browser, so that a page that is loaded
again goes on, and downloaded as a JSON file; nothing is sent.

`tally` takes these files as anybody's: strictly checked, or refused. Means are over clips within a rater, then over
raters, with the two-way interval over raters and concepts. A reconstruction that is missing was shown to nobody and
scores 1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from bench.core.contracts import Dataset
from bench.core.errors import BenchError
from bench.core.seeds import derive_seed
from bench.core.spec import digest
from bench.store.cells import Cell
from leaderboard import figures
from leaderboard.stats import intervals as statistics
from leaderboard.stats.agreement import krippendorff_alpha
from leaderboard.web.media import encode_poster, encode_webm
from leaderboard.web.page import fill_page

SCHEMA = 1
COUNT = 12
LOWEST, HIGHEST = 1, 5
QUESTIONS = {
    "semantic": ("Semantic alignment", "Does the video show the same things and the same action as the true clip?"),
    "temporal": (
        "Temporal consistency",
        "Does it move smoothly, and do things stay what they are from frame to frame?",
    ),
    "visual": ("Visual quality", "Is the picture clear and free of defects, whatever it shows?"),
    "fidelity": ("Overall fidelity", "All in all, how close is it to the true clip?"),
}
CHOICES = {  # the same, as they are asked of a group
    "semantic": "Which video shows best the things and the action of the true clip?",
    "temporal": "Which moves most smoothly, and keeps things what they are from frame to frame?",
    "visual": "Which picture is the clearest and freest of defects, whatever it shows?",
    "fidelity": "All in all, which is closest to the true clip?",
}
RATER = re.compile(r"[A-Za-z0-9_\-]{1,32}")
LARGEST = 2**20  # bytes of a file of answers
ANSWER = ("item", "letter", "position", *QUESTIONS)
LICENSED = "NOTE.txt"
Form = Literal["ratings", "preference"]


class HumanError(BenchError):
    """A study that cannot be made, or answers that are not what the page writes."""


def build_study(
    rows: Mapping[tuple[str, str], Sequence[Cell]],
    dataset: Dataset,
    folder: Path,
    *,
    count: int = COUNT,
    seed: int = 0,
    shuffled: bool = True,
    form: Form = "ratings",
    each: int | None = None,
) -> Path:
    """Write the page and its key into a new folder; returns the page.

    rows: the cells of each method and variant, of one split, as `figures.find_rows` gives them. seed: of the videos'
    names, for the raters a secret: who knows it and the methods can tell them apart. The same arguments give the same
    files. shuffled: show each method's shuffled brain too (twice as many videos to judge). each: how many of the clips
    a rater is shown, drawn by the rater's id; None: all. Raises HumanError where the folder holds something, a method
    has no cells, or nothing is asked for.
    """
    if folder.exists() and any(folder.iterdir()):
        raise HumanError(f"{folder} holds files: a study whose key is replaced cannot be tallied; name a new folder")
    if absent := [" ".join(side) for side, cells in rows.items() if not cells]:
        raise HumanError(f"no reconstructions of {', '.join(absent)} in the store; run them first")
    if not rows or count < 1:
        raise HumanError(f"{len(rows)} methods and {count} clips to judge; name at least one of both")
    if form == "preference" and len(rows) * (2 if shuffled else 1) < 2:
        raise HumanError(
            "a preference is among two videos or more; name another method, or leave the shuffled brains in"
        )
    if each is not None and (form == "ratings" or not 1 <= each <= count):
        raise HumanError(f"each={each}: of a preference's {count} clips a rater may be shown 1 to {count}")
    places = figures.choose_places({" ".join(side): cells for side, cells in rows.items()}, dataset.digest, count=count)
    stimuli = dataset.stimuli.to_pandas().set_index("clip")
    media = folder / "page" / "media"
    media.mkdir(parents=True)
    items: dict[str, dict[str, Any]] = {}
    shown: list[dict[str, Any]] = []
    for place in places:
        truth = f"{derive_seed('human', seed, 'truth', place.clip, place.subject):016x}"
        write_media(media, truth, dataset.video([place.clip])[0])
        shown.append({"truth": truth, "items": []})
    for (method, variant), cells in rows.items():
        for made in figures.read_rows("", cells, places)[: 2 if shuffled else 1]:
            floor = made.name != ""
            for place, video, clip in zip(places, made.videos, shown, strict=True):
                item = f"{derive_seed('human', seed, method, variant, int(floor), place.clip, place.subject):016x}"
                items[item] = {
                    "method": method,
                    "variant": variant,
                    "shuffled": floor,
                    "clip": place.clip,
                    "subject": place.subject,
                    "concept": int(stimuli.loc[place.clip, "concept"]),
                    "absent": video if isinstance(video, str) else "",
                }
                if not isinstance(video, str):
                    write_media(media, item, video)
                    clip["items"].append(item)
    for clip in shown:
        clip["items"].sort()  # by names that say nothing
    key = {"schema": SCHEMA, "dataset": dataset.name, "seed": seed, "questions": list(QUESTIONS), "items": items}
    if form == "preference":
        key |= {"form": form, "each": each, "groups": {clip["truth"]: clip["items"] for clip in shown}}
        shown = [clip for clip in shown if len(clip["items"]) > 1]  # among fewer nothing is chosen
    key["study"] = digest(key)
    (folder / "key.json").write_text(json.dumps(key, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    study = {
        "schema": SCHEMA,
        "study": key["study"],
        "clips": shown,
        "questions": [
            {"id": name, "title": title, "text": text, "choice": CHOICES[name]}
            for name, (title, text) in QUESTIONS.items()
        ],
        "lowest": LOWEST,
        "highest": HIGHEST,
        "form": form,
        "each": each or len(shown),
    }
    page = folder / "page" / "index.html"
    page.write_text(fill_page("human", study=study), encoding="utf-8")
    if dataset.truth is None:
        (folder / "page" / LICENSED).write_text(
            f"This folder holds frames of {dataset.name}, whose licence lets nobody pass them on. Show the page on "
            "your own machine; do not publish or send it.\n",
            encoding="utf-8",
        )
    return page


def write_media(folder: Path, name: str, video: np.ndarray) -> None:
    (folder / f"{name}.webm").write_bytes(encode_webm(video))
    (folder / f"{name}.png").write_bytes(encode_poster(video))


def tally(files: Sequence[Path], key: Path) -> pd.DataFrame:
    """A row for each question and method: the mean of its videos with its interval, its shuffled brain, agreement.

    files: the raters' answers, one file a rater. key: the study's key.json. `alpha` is Krippendorff's, ordinal, over
    all videos of the question; NaN for one rater. `mark` is "n.s." where the videos are not shown to be better than
    those of the shuffled brain. Raises HumanError for a file that the page cannot have written, or of another study.
    """
    known = read_key(key)
    if known.get("form", "ratings") != "ratings":
        raise HumanError(f"{key} is of a study by {known['form']}, and these are no ratings")
    items: dict[str, dict[str, Any]] = known["items"]
    asked = [name for name, about in items.items() if not about["absent"]]
    answers: dict[str, dict[str, dict[str, int]]] = {}
    for path in files:
        rater, given = read_answers(path, known["study"], set(asked))
        if rater in answers:
            raise HumanError(f"{path}: rater {rater!r} is in another file already; one file a rater")
        answers[rater] = given
    if not answers:
        raise HumanError("no answers to tally; name the files that the raters downloaded")
    raters = sorted(answers)
    order = ["method", "variant", "shuffled", "clip", "subject"]  # own videos and the floor's pair by clip
    table = pd.DataFrame.from_dict(items, orient="index").sort_values(order)
    records = []
    for question in QUESTIONS:
        judged = np.array([[answers[rater][item][question] for item in asked] for rater in raters], dtype=np.float64)
        alpha = krippendorff_alpha(judged) if len(raters) > 1 else float("nan")
        for (method, variant), mine in table.groupby(["method", "variant"], sort=False):
            own, floor = (
                collect(mine[mine["shuffled"] == floor], answers, raters, question) for floor in (False, True)
            )
            concepts = mine.loc[~mine["shuffled"], "concept"].to_numpy()
            value = statistics.mean_interval(own, concepts).within(LOWEST, HIGHEST)
            versus = statistics.paired_difference(own, floor, concepts) if floor.size else None
            records.append(
                {
                    "question": question,
                    "method": method,
                    "variant": variant,
                    "value": value.mean,
                    "low": value.low,
                    "high": value.high,
                    "mark": "n.s." if versus is not None and not versus.low > 0 else "",
                    "shuffled": float(floor.mean()) if floor.size else float("nan"),
                    "difference_to_shuffled": float("nan") if versus is None else versus.mean,
                    "difference_low": float("nan") if versus is None else versus.low,
                    "difference_high": float("nan") if versus is None else versus.high,
                    "alpha": alpha,
                    "raters": len(raters),
                    "n_clips": own.shape[1],
                    "generalises_to": value.generalises_to.replace("subjects", "raters"),
                    "dataset": known["dataset"],
                }
            )
    return pd.DataFrame(records)


def collect(
    items: pd.DataFrame, answers: Mapping[str, Mapping[str, Mapping[str, int]]], raters: Sequence[str], question: str
) -> np.ndarray:  # f64 (rater, clip)
    return np.array(
        [
            [
                LOWEST if absent else answers[rater][str(item)][question]
                for item, absent in zip(items.index, items["absent"], strict=True)
            ]
            for rater in raters
        ],
        dtype=np.float64,
    )


def read_key(path: Path) -> dict[str, Any]:
    """The key; raises HumanError unless it is what `build_study` wrote."""
    try:
        key = json.loads(path.read_bytes())
        plain = {name: value for name, value in key.items() if name != "study"}
        whole = key["schema"] == SCHEMA and key["study"] == digest(plain)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HumanError(f"{path} is no key of a study ({error!r}); it is the key.json beside the page") from error
    if not whole:
        raise HumanError(f"{path} is not what its digest says: it was altered, or is of another version")
    return key


def read_record(path: Path, study: str) -> tuple[str, list[Any]]:
    """The rater and the list of answers in a file. Raises HumanError, naming what is wrong."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise HumanError(f"{path}: {error.strerror}; name a file that a rater downloaded") from error
    if len(content) > LARGEST:
        raise HumanError(f"{path} is larger than {LARGEST // 2**20} MiB; no page writes such a file")
    try:
        record = json.loads(content, object_pairs_hook=read_object, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise HumanError(f"{path} is no file of answers ({error}); take it as it was downloaded") from error
    expected = {"schema", "study", "rater", "answers"}
    if not isinstance(record, dict) or set(record) != expected:
        raise HumanError(f"{path}: answers have exactly {', '.join(sorted(expected))}; take it as it was downloaded")
    if not is_number(record["schema"], SCHEMA, SCHEMA):
        raise HumanError(f"{path}: schema {record['schema']!r}; known is {SCHEMA}")
    if record["study"] != study:
        raise HumanError(f"{path} is of another study than the key; tally each study with its own key")
    rater, answers = record["rater"], record["answers"]
    if not isinstance(rater, str) or not RATER.fullmatch(rater):
        raise HumanError(f"{path}: rater {rater!r}; an id has 1 to 32 letters, digits, _ and -")
    if not isinstance(answers, list):
        raise HumanError(f"{path}: answers must be a list")
    return rater, answers


def read_answers(path: Path, study: str, items: set[str]) -> tuple[str, dict[str, dict[str, int]]]:
    """The rater, and the rating of each question by item. Raises HumanError, naming what is wrong."""
    rater, answers = read_record(path, study)
    given: dict[str, dict[str, int]] = {}
    for answer in answers:
        if not isinstance(answer, dict) or set(answer) != set(ANSWER):
            raise HumanError(f"{path}: an answer has exactly {', '.join(ANSWER)}")
        item = answer["item"]
        if not isinstance(item, str) or item not in items or item in given:
            raise HumanError(f"{path}: item {item!r} is not of this study, or stands there twice")
        for question in QUESTIONS:
            if not is_number(answer[question], LOWEST, HIGHEST):
                raise HumanError(
                    f"{path}: {question} of item {item} is {answer[question]!r}; allowed are whole numbers from "
                    f"{LOWEST} to {HIGHEST}"
                )
        if not is_number(answer["position"], 1, len(items)) or not re.fullmatch(r"[A-Z]{1,2}", str(answer["letter"])):
            raise HumanError(f"{path}: item {item} has the place {answer['position']!r}, {answer['letter']!r}")
        given[item] = {question: answer[question] for question in QUESTIONS}
    if lacking := items - set(given):
        raise HumanError(f"{path}: {len(lacking)} of {len(items)} videos have no answer; ask the rater to finish")
    return rater, given


def is_number(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return made


def refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")
