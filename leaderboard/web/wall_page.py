"""A section's page of clips: for each clip the truth, then what every method made of it; and each method's extremes."""

from __future__ import annotations

from typing import Any

from leaderboard.board import Section, write_number
from leaderboard.glossary import explain_metric
from leaderboard.web.clip_wall import CHOSEN, Shot, Tile, Wall
from leaderboard.web.method_page import name_part


def view_wall(section: Section, wall: Wall) -> dict[str, Any]:
    """The clips chosen by hash, the same for all methods, and each method's picks; methods in the table's order."""
    order = {row.method: place for place, row in enumerate(section.rows)}
    tiles = sorted((tile for tile in wall.tiles if tile.method in order), key=lambda tile: order[tile.method])
    chosen = [tile for tile in tiles if tile.why == CHOSEN]
    picked = [tile for tile in tiles if tile.why != CHOSEN]
    clips = []
    for clip, subject in dict.fromkeys((tile.clip, tile.subject) for tile in chosen):
        mine = [tile for tile in chosen if (tile.clip, tile.subject) == (clip, subject)]
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
    return {"clips": clips, "picks": picks, "metric": explain_metric(wall.metric).title}


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
