"""`bench list`: what there is to run. Loads none of what it lists."""

from __future__ import annotations

import click

from bench.core.errors import BenchError
from bench.core.progress import WIDTH, complain, wrap_words
from bench.core.registry import describe, names, problems

NAME = 21  # letters: the longest of ours
KINDS = ("methods", "datasets", "splits", "protocols", "metrics", "suites")


@click.command("list", epilog="Example: python -m bench list methods")
@click.argument("kind", type=click.Choice(KINDS), required=False)
def list_names(kind: str | None) -> int:
    """Methods with their ablations, data sets, splits, protocols and suites; or only one kind."""
    if kind == "protocols":
        explain_protocols()
    else:
        for one in [kind] if kind else filter(names, KINDS):
            print(
                f"{one}:" if names(one) else f"{one}: none from installed packages; `list protocols` has the built-in"
            )
            for name in names(one):
                tell(describe(one, name), f"  {name:{NAME}} ", NAME + 3)
                if one == "methods":
                    list_variants(name)
    counted = ", ".join(f"{len(names(one))} {one}" for one in ([kind] if kind else KINDS) if names(one))
    print()
    tell(f"{counted or 'None'} to choose from. To try a method: `python -m bench run --method sam_net --quick`.", 0, 0)
    for problem in problems(kind):
        complain(f"warning: left out: {problem.text}")
    return 0


def list_variants(method: str) -> None:
    """Print the ablations and profiles of a method; of a package whose file is malformed, what is wrong with it."""
    from bench.core.variants import MINI, load_profiles, load_variants

    try:
        groups, profiles = load_variants(method), load_profiles(method)
    except BenchError as error:
        complain(f"warning: the variants of {method} are left out: {error}")
        return
    for group, variants in groups.items():
        tell(f"--ablation {group}: {', '.join(variants)}", NAME + 5, NAME + 9)
    if set(profiles) > {MINI}:
        tell(f"--profile {', '.join(profiles)}", NAME + 5, NAME + 9)


def explain_protocols() -> None:
    """Print what each protocol computes and how it differs from ours; those that cannot be loaded are named."""
    from bench.scoring.lookup import find_protocol

    for name in names("protocols"):
        try:
            protocol = find_protocol(name)
        except BenchError as error:
            complain(f"warning: left out: {error}")
            continue
        tell(f"{protocol.name}: {protocol.summary}", 0, 2)
        if protocol.differs:
            tell(f"beside corrected: {protocol.differs}", 2, 4)
        frames = f"exactly {protocol.frames}" if protocol.frames else "any shared number"
        tell(
            f"frames: {frames} (published: {protocol.published}); side-by-side videos: grid border {protocol.border}",
            2,
            4,
        )
        for metric in protocol.metrics:
            arrow = "↑" if metric.direction == "higher" else "↓"
            chance = f"; chance {metric.chance:.3g}" if isinstance(metric.chance, float) else ""
            judge = f" [{metric.judge}]" if metric.judge else ""
            tell(f"{metric.name} {arrow}{judge}: {metric.summary}{chance}", 4, 8)


def tell(text: str, first: int | str, rest: int) -> None:
    """Print a text within a terminal's columns, set in by so many blanks, or behind a name."""
    start = first if isinstance(first, str) else " " * first
    print("\n".join(wrap_words(text, WIDTH, first=start, rest=" " * rest) or [start.rstrip()]))
