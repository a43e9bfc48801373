"""The sentence that a report ends in: what its rows come to, in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

FINE = ("ok", "absent", "note")  # of a row that is no fault
MOST = 3  # faults that are named


def tell_checks(report: pd.DataFrame, *, about: str) -> str:
    """Of rows with a `status`: how many are as they should be, and which are not. The first column names them."""
    status, named = report["status"], report.iloc[:, 0].astype(str)
    wrong = [f"{name} ({said})" for name, said in zip(named, status, strict=True) if said not in FINE]
    left = [f"{int((status == word).sum())} {word}" for word in ("absent", "note") if (status == word).any()]
    beside = f" ({', '.join(left)})" if left else ""
    if not wrong:
        return f"{about}: all {len(report)} checks passed{beside}."
    more = f" and {len(wrong) - MOST} more" if len(wrong) > MOST else ""
    return f"{about}: {len(wrong)} of {len(report)} checks failed{beside}: {', '.join(wrong[:MOST])}{more}."


def tell_audit(report: pd.DataFrame) -> str:
    """What audits found, in how many of them."""
    found = report[report["verdict"] == "found"]
    looked = report[report["verdict"] != "not applicable"]
    without = len(report) - len(looked)
    beside = f"; {without} had nothing to look at" if without else ""
    if found.empty:
        return f"Nothing was found by {len(looked)} audits{beside}."
    names = [f"{row['audit']} ({row['subject_of']})" for _, row in found.iterrows()]
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return f"{len(found)} of {len(looked)} audits found something{beside}: {', '.join(names[:MOST])}{more}."


def tell_bundle(report: pd.DataFrame, name: str) -> str:
    """What a bundle that was verified holds, and whether anything in it looks odd."""
    cells = f"{len(report)} cell{'' if len(report) == 1 else 's'}"
    flagged = int(report["flags"].astype(str).str.len().gt(0).sum()) if "flags" in report else 0
    odd = f", of which {flagged} {'is' if flagged == 1 else 'are'} flagged" if flagged else ", none of them flagged"
    return f"{name} is whole and can be published: {cells}{odd if 'flags' in report else ''}."


def tell_what_it_judges(report: pd.DataFrame, name: str) -> str:
    """Of a suite whose networks others trained: which protocols it is enough for."""
    whole = [row["what"].removeprefix("protocol ") for _, row in report.iterrows()
             if row["what"].startswith("protocol ") and not row["detail"]]  # fmt: skip
    enough = f"enough for every metric of {', '.join(whole)}" if whole else "enough for no protocol as a whole"
    return (
        f"{name} is {enough}. Others trained its networks, and how good they are was not measured here: what a judge "
        "says of published reconstructions stands beside the floors on the board (Published videos)."
    )


def tell_card(report: pd.DataFrame, name: str) -> str:
    """Of a suite that was trained here: how many of the aims that were set before its networks reach."""
    aims = report[report["aim"].notna()]
    missed = [
        f"{row['measure']} ({row['value']:.3g} of {row['aim']:.3g})" for _, row in aims.iterrows() if not row["reached"]
    ]
    beside = f"; not: {', '.join(missed)}" if missed else ""
    return f"{name} reaches {len(aims) - len(missed)} of the {len(aims)} aims that were set for its networks{beside}."


def tell_figures(report: pd.DataFrame, name: str) -> str:
    """Of a phantom: what of its concepts an ideal observer and the best linear reader name, beside chance."""
    figures = report[~report["figure"].str.endswith(", in bits")] if "figure" in report else report[:0]
    observers = figures[figures["figure"].str.startswith("ideal observer, concept")] if len(figures) else figures
    linear = figures[figures["figure"].str.contains("best linear reader")] if len(figures) else figures
    if observers.empty or linear.empty:
        return f"{len(report)} figures of {name}."
    opened = observers[observers["figure"].str.contains("open set")]
    best = (opened if len(opened) else observers).iloc[0]
    ideal, read, chance = float(best["mean"]), linear["mean"].astype(float).max(), float(best["chance"])
    return (
        f"Of {name}'s test trials an ideal observer names the concept in {100 * ideal:.0f} %, the best linear reader "
        f"in {100 * read:.0f} % (chance {100 * chance:.1f} %). A phantom is synthetic: it says nothing of real brains."
    )


def tell_suite(report: pd.DataFrame, name: str) -> str:
    """How much of a suite is on this machine, and how much is to be fetched."""
    gone = report[~report["present"]]
    if gone.empty:
        return f"All {len(report)} networks of {name} are here."
    size = gone["megabytes"].sum()
    fetched = f", about {size / 1000:.1f} GB: `python -m bench suite fetch {name}`" if size else ""
    return f"{len(gone)} of {len(report)} networks of {name} are not here{fetched}."


def tell_simulated(measured: pd.DataFrame) -> str:
    """How well the intervals of simulated studies held, at the worst of the designs."""
    lowest, highest = 100 * measured["coverage"].min(), 100 * measured["coverage"].max()
    return (
        f"Of {int(measured['studies'].iloc[0])} simulated studies of each design: intervals cover {lowest:.1f} to "
        f"{highest:.1f} % (95 asked); a planted zero is called an effect in at most "
        f"{100 * measured['zero_called_effect'].max():.1f} % of them (5 allowed)."
    )
