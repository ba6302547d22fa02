"""Runs on the Hugging Face Hub: a folder in a dataset repository, a score in the model's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evals.reports.page import run_page
from evals.reports.tables import Run, number, run_markdown
from evals.runner.records import MANIFEST, RECORDS
from mtgen.errors import HubError, SettingError

TIMEOUT_S = 20
"""Of each request."""


def check_push(dataset: str | None, model: str | None) -> None:
    """Refuses before a long run what could not be sent after it.

    Raises:
        SettingError: a name that is none of a repository, a model without a dataset, no token.
    """
    from huggingface_hub import get_token

    if dataset is None and model is None:
        return
    if dataset is None:
        raise SettingError(
            "--push-model needs --push as well: a score links to the dataset with its records"
        )
    for flag, name in (("--push", dataset), ("--push-model", model)):
        if name is not None and (name.count("/") != 1 or not all(name.split("/"))):
            raise SettingError(f"{flag} takes owner/name of a repository on the Hub, not {name!r}")
    if get_token() is None:
        raise SettingError(
            "--push needs a token of the Hub that may write: set HF_TOKEN, or run 'hf auth login'"
        )


def place(run: Run) -> str:
    """A run's folder within the dataset repository."""
    return f"{run.manifest['suite']}/{run.folder.resolve().name}"


def dataset_files(run: Run) -> dict[str, bytes | Path]:
    """What is uploaded of a run, by path in the repository: nothing else that lies in its folder.

    Manifest, records, pictures, `scores.json`, and the report as page and as text.
    """
    scores = {**run.manifest, "scores": [score.as_dict() for score in run.scores]}
    pictures = [
        image["file"] for record in run.records for image in record.get("images") or ()
    ]  # fmt: skip
    files: dict[str, bytes | Path] = {
        name: run.folder / name for name in (MANIFEST, RECORDS, *pictures)
    }
    files["scores.json"] = (json.dumps(scores, indent=2) + "\n").encode()
    files["report.html"] = run_page(run).encode()
    files["report.md"] = run_markdown(run).encode()
    return {f"{place(run)}/{name}": content for name, content in files.items()}


def model_files(run: Run, dataset: str) -> dict[str, bytes]:
    """The suite's first score in the format that model pages of the Hub read.

    The Hub shows it once the dataset is registered as a benchmark with a task of the suite's name.

    Args:
        run: A whole one.
        dataset: Repository that has its records.

    Raises:
        SettingError: a partial run, or one whose first score could not be computed.

    Source: huggingface.co/docs/hub/eval-results; written by `huggingface_hub`'s own functions.
    """
    from huggingface_hub import EvalResultEntry, constants, eval_result_entries_to_yaml
    from huggingface_hub.utils import yaml_dump

    score, suite = run.scores[0], run.manifest["suite"]
    if not run.is_complete or score.value is None:
        raise SettingError(
            f"{run.folder} is no whole run with a score; finish it before --push-model"
        )
    told = f"{score.name}, {score.unit}"
    if score.ci95 is not None:
        told += f", 95% interval {number(score.ci95[0])} to {number(score.ci95[1])}"
    entry = EvalResultEntry(
        dataset_id=dataset, task_id=suite, value=score.value, date=run.manifest["started"],
        source_url=f"{constants.ENDPOINT}/datasets/{dataset}/tree/main/{place(run)}",
        source_name="Records and report",
        notes=f"{told}, n = {score.n_scored}, {score.signature}",
    )  # fmt: skip
    text = yaml_dump(eval_result_entries_to_yaml([entry]))
    return {f".eval_results/{suite}.yaml": text.encode()}


def push(run: Run, dataset: str, model: str | None = None) -> list[str]:
    """Uploads a run in one commit, and its first score to a model in another.

    Returns:
        Addresses of what was made.

    Raises:
        SettingError: see `check_push` and `model_files`.
        HubError: the Hub cannot be reached, or refuses.
    """
    from huggingface_hub import constants

    check_push(dataset, model)
    for_model = model_files(run, dataset) if model else {}
    title = f"{run.manifest['suite']} of {run.manifest['model']}"
    upload(dataset, "dataset", dataset_files(run), title)
    made = [f"{constants.ENDPOINT}/datasets/{dataset}/tree/main/{place(run)}"]
    if model:
        upload(model, "model", for_model, f"Result of {run.manifest['suite']}")
        made.append(f"{constants.ENDPOINT}/{model}")
    return made


def upload(repo: str, kind: str, files: Mapping[str, bytes | Path], title: str) -> None:
    """One commit of files; a dataset repository is made where there is none, private.

    Raises:
        HubError: the Hub cannot be reached, or refuses.
    """
    import httpx2
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import get_session

    get_session().timeout = TIMEOUT_S
    api: Any = HfApi()
    try:
        if kind == "dataset":
            api.create_repo(repo, repo_type=kind, private=True, exist_ok=True)
        operations = [
            CommitOperationAdd(path_in_repo=name, path_or_fileobj=content)
            for name, content in files.items()
        ]
        api.create_commit(repo, operations, commit_message=title, repo_type=kind)
    except (HfHubHTTPError, httpx2.HTTPError, OSError, ValueError) as error:
        told = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise HubError(
            f"the {kind} repository {repo} cannot be written ({told[:200]}); nothing is lost here, "
            "and 'python -m evals report FOLDER --push' sends a run later"
        ) from None
