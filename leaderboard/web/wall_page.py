"""A section's page of clips: for each clip the truth, then what every method made of it; and each method's extremes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from leaderboard.board import Section, write_number
from leaderboard.glossary import explain_metric
from leaderboard.web.clip_wall import CHOSEN, Shot, Tile, Wall
from leaderboard.web.method_page import name_part


def view_wall(section: Section, wall: Wall) -> dict[str, Any]:
    """The clips chosen by hash, those of most methods first, and each method's picks; methods in the table's order.

    `apart` says which clips show whom, where methods were published with different ones; else it is empty.
    """
    order = {row.method: place for place, row in enumerate(section.rows)}
    tiles = sorted((tile for tile in wall.tiles if tile.method in order), key=lambda tile: order[tile.method])
    chosen = [tile for tile in tiles if tile.why == CHOSEN]
    picked = [tile for tile in tiles if tile.why != CHOSEN]
    shown: dict[tuple[int, int], list[Tile]] = {}
    for tile in chosen:
        shown.setdefault((tile.clip, tile.subject), []).append(tile)
    together: dict[tuple[str, ...], list[int]] = {}  # clips by the methods that they show
    clips = []
    for (clip, subject), mine in sorted(shown.items(), key=lambda one: -len(one[1])):
        together.setdefault(tuple(tile.method for tile in mine), []).append(clip)
        truth = wall.truths[clip]
        clips.append(
            {
                "clip": clip,
                "subject": subject,
                "words": truth.caption or truth.concept,
                "truth": view_shot(truth.shot, f"true clip {clip}"),
                "made": [view_tile(tile, tile.made, f"clip {clip} by {tile.method}") for tile in mine],
                "shuffled": [
                    view_tile(tile, tile.shuffled, f"{tile.method} shown the brain that saw clip {tile.shuffled_clip}")
                    | {"text": f"shown clip {tile.shuffled_clip}"}
                    for tile in mine
                ],
            }
        )
    picks = [
        {
            "method": method,
            "id": f"m-{name_part(method)}",
            "tiles": [view_pick(tile, wall) for tile in picked if tile.method == method],
        }
        for method in dict.fromkeys(tile.method for tile in picked)
    ]
    groups = [{"clips": join_words(map(str, ids)), "methods": methods} for methods, ids in together.items()]
    apart = groups if len(groups) > 1 else []
    return {"clips": clips, "apart": apart, "picks": picks, "metric": explain_metric(wall.metric).title}


def join_words(words: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def view_pick(tile: Tile, wall: Wall) -> dict[str, Any]:
    about = {"why": tile.why, "clip": tile.clip, "subject": tile.subject}
    truth = view_shot(wall.truths[tile.clip].shot, f"true clip {tile.clip}")
    shuffled = view_shot(tile.shuffled, f"{tile.method} shown the brain that saw clip {tile.shuffled_clip}")
    made = view_tile(tile, tile.made, f"clip {tile.clip} by {tile.method}")
    return about | made | {"truth": truth, "shuffled": shuffled, "shuffled_clip": tile.shuffled_clip}


def view_tile(tile: Tile, shot: Shot, words: str) -> dict[str, Any]:
    text = "<\u00a00.001" if 0 < tile.value < 0.001 else write_number(tile.value)
    return {"method": tile.method, "text": text, "shot": view_shot(shot, words)}


def view_shot(shot: Shot, words: str) -> dict[str, str]:
    return {
        "alt": words,
        "video": shot.video and f"media/{shot.video}",
        "poster": shot.poster and f"media/{shot.poster}",
        "absent": shot.absent,
    }
