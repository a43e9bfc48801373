"""Brain2Video Bench: an evaluation harness and leaderboard for reconstructing video from brain recordings.

    import bench

    result = bench.run(method="sam_net", split="cross_subject", quick=True)
    result.table                                    # a pandas frame: value, interval, floor, ceiling, brain share
    rows = bench.score("predictions", "targets")    # videos that were made elsewhere
    bench.report(rows, "report.html", "predictions", "targets")
    bench.table(ablation="hrt")                     # paired differences, of the store or of the committed results
    bench.compare("sam_net", "retrieval").table

Each function takes plain arguments and gives back a frame or a small frozen object; what the user can mend is raised as
`BenchError`, in the same words as on the command line, which calls nothing else. What is asked for is loaded when it is
asked for: importing this package imports neither torch nor pandas.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from bench.core.version import __version__ as __version__

# what the package offers -> the module that holds it
_DOOR = {
    **dict.fromkeys(("run", "plan_run", "collect", "RunResult", "CellsFailed", "Planned"), "bench.api.run"),
    **dict.fromkeys(("score", "summarise_scores"), "bench.api.score"),
    "report": "bench.api.report",
    **dict.fromkeys(("submit", "Submission"), "bench.api.submitting"),
    **dict.fromkeys(("table", "compare", "Comparison"), "bench.api.tables"),
    **dict.fromkeys(("paper_table", "paper_names", "PaperTable"), "bench.api.papers"),
    **dict.fromkeys(("plan_paper", "run_paper"), "bench.api.paper_run"),
    **dict.fromkeys(("study", "Study"), "bench.api.paper_study"),
    **dict.fromkeys(("plan_study", "run_study", "tell_study_plan", "PlannedStudy"), "bench.api.study_run"),
    **dict.fromkeys(("estimate_cost", "compare_costs", "tell_cost", "CellsCost"), "bench.api.cost"),
    **dict.fromkeys(("pack", "verify"), "bench.api.packing"),
    **dict.fromkeys(("publish", "publish_bundle"), "bench.api.publishing"),
    **dict.fromkeys(("make_board", "check_board", "export_hub"), "bench.api.publishing"),
    **dict.fromkeys(("push_scores", "push_card"), "bench.api.pushing"),
    **dict.fromkeys(("draw_clips", "draw_learning", "draw_scalp", "draw_voxels", "Drawing"), "bench.api.figures"),
    **dict.fromkeys(("build_study", "tally_study"), "bench.api.studies"),
    **dict.fromkeys(("open_dataset", "make_dataset", "verify_dataset", "describe_dataset"), "bench.api.data"),
    **dict.fromkeys(("load_suite", "build_suite", "fetch_suite", "verify_suite", "describe_suite"), "bench.api.data"),
    **dict.fromkeys(("audit_dataset", "measure_audits", "examine_machine"), "bench.api.audits"),
    **dict.fromkeys(("measure_scoring", "measure_memory", "measure_streams"), "bench.api.audits"),
    **dict.fromkeys(("measure_scale", "measure_statistics", "measure_study"), "bench.api.audits"),
    **dict.fromkeys(("measure_generating", "measure_fitting"), "bench.api.audits"),
    **dict.fromkeys(("check_method", "write_method"), "bench.api.authors"),
    "BenchError": "bench.core.errors",
}
__all__ = ["__version__", *_DOOR]

if TYPE_CHECKING:
    from bench.api.audits import (
        audit_dataset,
        examine_machine,
        measure_audits,
        measure_fitting,
        measure_generating,
        measure_memory,
        measure_scale,
        measure_scoring,
        measure_statistics,
        measure_streams,
        measure_study,
    )
    from bench.api.authors import check_method, write_method
    from bench.api.cost import CellsCost, compare_costs, estimate_cost, tell_cost
    from bench.api.data import (
        build_suite,
        describe_dataset,
        describe_suite,
        fetch_suite,
        load_suite,
        make_dataset,
        open_dataset,
        verify_dataset,
        verify_suite,
    )
    from bench.api.figures import Drawing, draw_clips, draw_learning, draw_scalp, draw_voxels
    from bench.api.packing import pack, verify
    from bench.api.paper_run import plan_paper, run_paper
    from bench.api.paper_study import Study, study
    from bench.api.papers import PaperTable, paper_names, paper_table
    from bench.api.publishing import check_board, export_hub, make_board, publish, publish_bundle
    from bench.api.pushing import push_card, push_scores
    from bench.api.report import report
    from bench.api.run import CellsFailed, Planned, RunResult, collect, plan_run, run
    from bench.api.score import score, summarise_scores
    from bench.api.studies import build_study, tally_study
    from bench.api.study_run import PlannedStudy, plan_study, run_study, tell_study_plan
    from bench.api.submitting import Submission, submit
    from bench.api.tables import Comparison, compare, table
    from bench.core.errors import BenchError


def __getattr__(name: str) -> Any:
    if name not in _DOOR:
        raise AttributeError(f"module 'bench' has no attribute {name!r}; it offers {', '.join(sorted(_DOOR))}")
    return getattr(importlib.import_module(_DOOR[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_DOOR})
