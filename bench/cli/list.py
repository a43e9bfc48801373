"""`bench list`: what there is to run. Loads none of what it lists."""

from __future__ import annotations

import click

from bench.core.registry import describe, names

KINDS = ("methods", "datasets", "splits", "protocols", "metrics", "suites")


@click.command("list", epilog="Example: python -m bench list methods")
@click.argument("kind", type=click.Choice(KINDS), required=False)
def list_names(kind: str | None) -> int:
    """Methods with their ablations, data sets, splits, protocols and suites; or only one kind."""
    from bench.core.variants import load_variants

    if kind == "protocols":
        explain_protocols()
        return 0
    for one in [kind] if kind else filter(names, KINDS):
        print(f"{one}:")
        for name in names(one):
            print(f"  {name:18} {describe(one, name)}")
            if one == "methods":
                for group, variants in load_variants(name).items():
                    print(f"  {'':18}   --ablation {group}: {', '.join(variants)}")
    return 0


def explain_protocols() -> None:
    """Print what each protocol computes and how it differs from ours."""
    from bench.scoring.lookup import find_protocols

    for protocol in find_protocols(names("protocols")).values():
        print(f"{protocol.name}: {protocol.summary}")
        if protocol.differs:
            print(f"  beside corrected: {protocol.differs}")
        frames = f"exactly {protocol.frames}" if protocol.frames else "any shared number"
        print(
            f"  frames: {frames} (published: {protocol.published}); side-by-side videos: grid border {protocol.border}"
        )
        for metric in protocol.metrics:
            arrow = "↑" if metric.direction == "higher" else "↓"
            chance = "" if metric.chance == "measured" else f"; chance {metric.chance:.3g}"
            judge = f" [{metric.judge}]" if metric.judge else ""
            print(f"    {metric.name} {arrow}{judge}: {metric.summary}{chance}")
