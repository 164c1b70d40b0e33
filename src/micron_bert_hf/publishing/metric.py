"""Modules of Hugging Face `evaluate` on the Hub, where they live in a Space each, see [`publish_metric`]."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import SpaceCardData

from ..metrics import metric_path
from .isolation import ask
from .push import PublishedButWrongError, PushedCommit, check_repo_id, push_folder


_TITLES = {"uf1": "Unweighted F1", "uar": "Unweighted average recall", "mer": "Micro-expression recognition scores"}
_COLUMNS = {"predictions": [0, 1, 1, 2, 0], "references": [0, 1, 2, 2, 1], "num_labels": 4}
_PROGRAM = Path(__file__).with_name("metric_answer.py")


@dataclass(frozen=True)
class MetricPublication:
    """
    Args:
        repo_id (`str`): of the Space, as `evaluate.load` takes it.
        pushed (`PushedCommit`)
    """

    repo_id: str
    pushed: PushedCommit

    def __str__(self) -> str:
        visibility = "private" if self.pushed.private else "public"
        return (
            f"Published {self.repo_id}, a {visibility} Space\n  address: {self.pushed.url}\n"
            f"  commit:  {self.pushed.commit}\n"
            "  before and after: evaluate.load, in a process of its own, gave this package's scores"
        )


def publish_metric(name: str, repo_id: str, *, private: bool = False, token: str | None = None) -> MetricPublication:
    """
    Publish a metric for `evaluate.load(repo_id)`. It imports this package, which whoever loads it must have installed,
    and which `evaluate` tells them if they have not.

    Args:
        name (`str`): `"uf1"`, `"uar"` or `"mer"`.
        repo_id (`str`): `USER/NAME` of a Space, made if it does not exist.
        private (`bool`): the Space is to be private.
        token (`str`, *optional*): else that which is logged in.

    Raises:
        ValueError: another name, or `evaluate` does not get this package's scores from it; nothing was sent.
        PublishedButWrongError: it was sent, and what the Hub gives back does not give them.
        OSError: see [`push_folder`].
    """
    from ..evaluation.metrics import score_columns  # brings scikit-learn along: only for metrics

    check_repo_id(repo_id)
    module, expected = Path(metric_path(name)) / f"{name}.py", score_columns(**_COLUMNS)
    with TemporaryDirectory() as temporary:
        folder = write_metric_folder(Path(temporary) / repo_id.rpartition("/")[2], name, module, repo_id)
        _check_scores(os.fspath(folder), expected, revision=None, token=None)
        pushed = push_folder(
            folder,
            repo_id,
            message=f"{_TITLES[name]}, by micron_bert_hf {version('micron-bert-hf')}",
            own_patterns=(),  # always the same names
            private=private,
            repo_type="space",
            token=token,
        )
    try:
        _check_scores(repo_id, expected, revision=pushed.commit, token=token)
    except ValueError as error:
        raise PublishedButWrongError(
            f"{repo_id} has the new revision {pushed.commit}, but it could not be confirmed: {error}"
        ) from error
    return MetricPublication(repo_id, pushed)


def _check_scores(name_or_path: str, expected: Mapping[str, Any], *, revision: str | None, token: str | None) -> None:
    """
    Raises:
        ValueError: `evaluate` cannot load it in a process of its own, or it does not give these scores.
    """
    with TemporaryDirectory() as folder:
        request = {"model": name_or_path, "revision": revision, "columns": _COLUMNS}
        online = revision is not None
        found = ask(_PROGRAM, request, Path(folder), online=online, token=token, hide_package=False)
    if not found or found != {key: expected.get(key) for key in found}:
        raise ValueError(f"{name_or_path} gives {found}, and this package {dict(expected)}")


def write_metric_folder(folder: Path, name: str, module: Path, repo_id: str) -> Path:
    """The files of the Space: `evaluate` wants the module's file named as the repository."""
    folder.mkdir()
    shutil.copyfile(module, folder / f"{repo_id.rpartition('/')[2]}.py")
    title = _TITLES[name]
    data = SpaceCardData(title=title, sdk="static", pinned=False, tags=["evaluate", "metric", "micro-expression"])
    how = (
        "import evaluate\n\n"
        f'metric = evaluate.load("{repo_id}")\n'
        "metric.compute(predictions=[0, 1], references=[0, 2], num_labels=3)"
    )
    needs = f"It needs `micron-bert-hf` {version('micron-bert-hf')} or later to be installed."
    (folder / "README.md").write_text(
        f"---\n{data.to_yaml()}\n---\n\n# {title}\n\n```python\n{how}\n```\n\n{needs}\n", encoding="utf-8"
    )
    (folder / "index.html").write_text(
        f'<!doctype html>\n<meta charset="utf-8">\n<title>{title}</title>\n<h1>{title}</h1>\n'
        f"<pre>{escape(how)}</pre>\n<p>{escape(needs)}</p>\n",
        encoding="utf-8",
    )
    return folder
