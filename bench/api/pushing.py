"""Results sent to the Hugging Face hub, by an explicit command alone: scores as a data set, a method's into its card.

The token is that of `hf auth login`, or HF_TOKEN. A repository that is not there yet is made, private.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from bench.api.publishing import read_committed
from bench.core.errors import BenchError
from bench.core.progress import say

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, HfApi, ModelCard, ModelCardData

OURS = "corrected/"  # how the names of the benchmark's own results in a card begin
EMPTY_CARD = "---\n{{}}\n---\n\n# {}\n"


def push_scores(repository: str, *, results: str | Path | None = None) -> str:
    """Send every committed clip's scores, with a card, to a data set of the hub (`owner/name`); returns its address.

    Files there that are no longer written stay. Raises BenchError without results, a token, the right to write there or
    a network.
    """
    with reaching(repository) as api:
        scores = read_committed(results)
        from leaderboard.web.hub import write_hub

        with tempfile.TemporaryDirectory() as place:
            write_hub(scores, Path(place), name=repository)
            api.create_repo(repository, repo_type="dataset", private=True, exist_ok=True)
            api.upload_folder(
                repo_id=repository, repo_type="dataset", folder_path=place,
                commit_message=f"{len(scores)} scores of Brain2Video Bench",
            )  # fmt: skip
    address = f"https://huggingface.co/datasets/{repository}"
    say(f"{len(scores)} scores sent to {address}; one that is new is private until you open it there")
    return address


def push_card(method: str, repository: str, *, results: str | Path | None = None) -> str:
    """Put a method's scores on the board into a card of the hub, as evaluation results; returns the model's address.

    What the card says else stays, the results of others too; those of this benchmark are replaced. Raises BenchError as
    `push_scores` does, and for a method that is not ranked.
    """
    with reaching(repository) as api:
        from leaderboard.board import make_board
        from leaderboard.publication import list_evaluations

        sections = make_board(read_committed(results))
        found = list_evaluations(method, sections)
        if not found:
            ranked = sorted({row.method for section in sections for row in section.ranked})
            raise BenchError(f"{method} is not ranked in these results; ranked are {', '.join(ranked)}")
        api.create_repo(repository, private=True, exist_ok=True)
        there = api.file_exists(repository, "README.md")
        text = Path(api.hf_hub_download(repository, "README.md")).read_text(encoding="utf-8") if there else ""
        card = put_into_card(text, method, found)
        api.upload_file(
            repo_id=repository, path_in_repo="README.md", path_or_fileobj=str(card).encode(),
            commit_message=f"{len(found)} results of Brain2Video Bench",
        )  # fmt: skip
    address = f"https://huggingface.co/{repository}"
    say(f"{len(found)} results of {method} are in the card of {address}")
    return address


def put_into_card(text: str, method: str, results: Sequence[EvalResult]) -> ModelCard:
    """A card's text with these results in place of the benchmark's earlier ones; an empty text begins one."""
    from huggingface_hub import ModelCard

    card = ModelCard(text or EMPTY_CARD.format(method))
    about = cast("ModelCardData", card.data)
    others = [one for one in about.eval_results or [] if not str(one.metric_name).startswith(OURS)]
    about.eval_results = [*others, *results]
    about.model_name = about.model_name or method
    return card


@contextmanager
def reaching(repository: str) -> Iterator[HfApi]:
    """The hub's door, for a block in which every failure to get through it is told as a BenchError."""
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    from huggingface_hub.utils import validate_repo_id

    # the first: of whichever library it speaks to the hub by
    unreached = cast("tuple[type[Exception], ...]", (*HfHubHTTPError.__bases__, ConnectionError))
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise BenchError(f"{repository!r} is no repository of the hub ({error}); give owner/name") from error
    if "/" not in repository:
        raise BenchError(f"{repository!r} names no owner; give owner/name")
    if get_token() is None:
        raise BenchError("no token of the Hugging Face hub is here; `hf auth login`, or set HF_TOKEN")
    try:
        yield HfApi(library_name="brain2video-bench")
    except unreached as error:
        raise BenchError(
            f"{repository} was not reached, or may not be written to with this token: {error}".splitlines()[0]
        ) from error
