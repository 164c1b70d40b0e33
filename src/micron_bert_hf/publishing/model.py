"""From a model's folder to a repository that a stranger can use, see [`publish_model`]."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from .card import CardFacts, is_untouched_card, render_card
from .folder import OWN_PATTERNS, ModelFolder, label_names, read_model_folder, sent_files, write_complete_folder
from .isolation import example_pair, isolated_answer, largest_difference, own_answer
from .push import DEFAULT_BRANCH, PublishedButWrongError, PushedCommit, check_repo_id, make_tag, push_folder
from .results import Result, Source, check_results_belong, read_results


@dataclass(frozen=True)
class PreparedModel:
    """
    A complete folder that has been tried.

    Args:
        path: of the folder.
        source: what it was made from.
        answer: of this package for [`example_pair`].
        difference (`float`): of the isolated process's answer from it.
        notes (`tuple[str, ...]`): what the publisher should know.
    """

    path: Path
    source: ModelFolder
    answer: dict[str, list[float]]
    difference: float
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Publication:
    """
    Args:
        repo_id (`str`)
        branch (`str`)
        tag (`str`, *optional*)
        pushed (`PushedCommit`)
        files (`tuple[str, ...]`): of the revision, as sent.
        difference_before, difference_after (`float`): of the answer in an isolated process, from the folder and from
            the Hub, from that of this package.
        notes (`tuple[str, ...]`)
    """

    repo_id: str
    branch: str
    tag: str | None
    pushed: PushedCommit
    files: tuple[str, ...]
    difference_before: float
    difference_after: float
    notes: tuple[str, ...]

    @property
    def commit(self) -> str:
        return self.pushed.commit

    def __str__(self) -> str:
        visibility = "private" if self.pushed.private else "public"
        tag = "" if self.tag is None else f", tag {self.tag}"
        unchanged = " (nothing had changed)" if self.commit == self.pushed.previous else ""
        lines = [
            f"Published {self.repo_id}, {visibility}, branch {self.branch}{tag}",
            f"  address: {self.pushed.url}",
            f"  commit:  {self.commit}{unchanged}",
            "  before:  the folder answered in a process without this package; largest difference from the package's"
            f" own answer {self.difference_before:.1e}",
            "  after:   loaded from the Hub at this commit into an empty cache; largest difference"
            f" {self.difference_after:.1e}",
            f"  files:   {', '.join(self.files)}",
        ]
        if self.pushed.deleted:
            lines.append(f"  deleted: {', '.join(self.pushed.deleted)}, of an earlier publication")
        if self.pushed.foreign:
            lines.append(f"  kept:    {', '.join(self.pushed.foreign)}, which somebody else put there")
        return "\n".join([*lines, *(f"  note:    {note}" for note in self.notes)])


def publish_model(
    folder: str | os.PathLike,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    tag: str | None = None,
    results: Source | Sequence[Source] | None = None,
    license: str | None = None,
    token: str | None = None,
) -> Publication:
    """
    Publish a model folder: complete it in a copy, render its card, try it in an isolated process, send it in one
    commit, and try what came of it. `folder` itself is not changed.

    Args:
        folder: of any of the three model classes, as `save_for_hub`, the demo and the training scripts leave it.
        repo_id (`str`): `USER/NAME`; made if it does not exist.
        private (`bool`): the repository is to be private.
        revision (`str`, *optional*): the branch, made from `main` if it does not exist; `main` by default.
        tag (`str`, *optional*): made at the commit once it has been tried; must not exist.
        results: for the card, besides the folder's own: a `results.json`, a folder with one, its content, or several.
        license (`str`, *optional*): of the weights, as the Hub names licences; `"unknown"` by default.
        token (`str`, *optional*): else that which is logged in.

    Raises:
        FileNotFoundError: `folder` or a part of a model is missing. This and the next: nothing was sent.
        ValueError: `folder` holds what is not published; the weights do not fit; the results do not belong to it; a
            stranger would not get the answer that this package gives.
        OSError: see [`push_folder`].
        PublishedButWrongError: it was sent, and what the Hub gives back is not what was sent.
    """
    check_repo_id(repo_id)
    with TemporaryDirectory() as temporary:
        prepared = prepare_model(
            Path(folder), Path(temporary) / "model", repo_id, results=results, license=license, tag=tag
        )
        branch = revision or DEFAULT_BRANCH
        pushed = push_folder(
            prepared.path,
            repo_id,
            message=_message(prepared.source),
            own_patterns=OWN_PATTERNS,
            private=private,
            branch=branch,
            tag=tag,
            token=token,
        )
        files = tuple(sent_files(prepared.path))
    try:
        found = isolated_answer(repo_id, prepared.source.model, example_pair(), revision=pushed.commit, token=token)
        difference = largest_difference(found, prepared.answer)
    except ValueError as error:
        raise PublishedButWrongError(
            f"{repo_id} has the new revision {pushed.commit}, but it could not be confirmed: {error}. The revision"
            f" before it is {pushed.previous}."
        ) from error
    if tag is not None:
        make_tag(repo_id, tag, pushed.commit, token)
    return Publication(repo_id, branch, tag, pushed, files, prepared.difference, difference, prepared.notes)


def prepare_model(
    folder: Path,
    target: Path,
    repo_id: str,
    *,
    results: Source | Sequence[Source] | None = None,
    license: str | None = None,
    tag: str | None = None,
) -> PreparedModel:
    """
    All that needs no Hub: `target`, which must not exist, becomes what would be sent, and has been tried. Arguments
    and errors as of [`publish_model`].
    """
    source = read_model_folder(folder)
    if source.conversion is not None and license is None:
        raise ValueError(
            f"{folder} was converted from a checkpoint of the original code, which has no licence to pass it on. If"
            " you have one, state it (--license)."
        )
    measured = [
        *([] if source.results is None else [Result(source.results, is_of_folder=True)]),
        *source.evaluations,
        *read_results(results),
    ]
    check_results_belong(measured, source.model, label_names(source.model))
    is_card_kept = source.card is not None and not is_untouched_card(source.card)
    card = source.card if is_card_kept else render_card(CardFacts(repo_id, source, tuple(measured), license, tag))
    write_complete_folder(target, source, card, measured)
    answer = own_answer(source.model, source.image_processor, example_pair())
    difference = largest_difference(isolated_answer(str(target), source.model, example_pair()), answer)
    notes = []
    if is_card_kept:
        notes.append(
            "README.md was written or edited by somebody and is published as it is: no card was rendered, and neither"
            " results nor licence were put into it"
        )
    elif license is None:
        notes.append("no licence was stated (--license): nobody else has a right to use these weights")
    if source.replaced_code:
        notes.append(f"{', '.join(source.replaced_code)} are those of this version, not those of the folder")
    if source.left_out:
        notes.append(f"left out: {', '.join(source.left_out)}")
    return PreparedModel(target, source, answer, difference, tuple(notes))


def _message(source: ModelFolder) -> str:
    names = label_names(source.model)
    return f"Micron-BERT: {'an encoder' if names is None else f'{len(names)} classes'}, by micron-bert publish"
