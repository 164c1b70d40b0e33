"""One commit to the Hub: all of a folder or nothing of it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, HTTPError
from huggingface_hub.utils import validate_repo_id

from .folder import sent_files


DEFAULT_BRANCH = "main"


@dataclass(frozen=True)
class PushedCommit:
    """
    Args:
        commit (`str`): 40 hexadecimal digits; `previous` where nothing had changed.
        previous (`str`): which the branch named before.
        url (`str`): of the commit.
        private (`bool`): the repository is.
        deleted (`tuple[str, ...]`): files of an earlier publication that are gone.
        foreign (`tuple[str, ...]`): files in the repository that somebody else put there, and that are left.
    """

    commit: str
    previous: str
    url: str
    private: bool
    deleted: tuple[str, ...]
    foreign: tuple[str, ...]


class PublishedButWrongError(ValueError):
    """The commit stands, and loading it back did not give what was sent."""


def check_repo_id(repo_id: str) -> None:
    """
    Raises:
        ValueError: it is not `USER/NAME`.
    """
    validate_repo_id(repo_id)
    if repo_id.count("/") != 1:
        raise ValueError(f"the repository must be named USER/NAME, got {repo_id!r}")


def make_repository(
    repo_id: str, *, private: bool = False, repo_type: str = "model", token: str | None = None
) -> bool:
    """
    Make the repository if it is not there; whoever may not push there finds out now, and not after the work.

    Args:
        private (`bool`): it is to be private.
        repo_type (`"model"`, `"dataset"` or `"space"`)

    Returns:
        Whether it is private.

    Raises:
        ValueError: `repo_id` is not `USER/NAME`.
        PermissionError: it is to be private, and exists and is public.
        OSError: no token, or one that may not write there; the Hub refused, or the connection broke.
    """
    check_repo_id(repo_id)
    api = HfApi(token=token)
    where = {"repo_id": repo_id, "repo_type": repo_type}
    with _errors_of_the_connection(f"{repo_id} is as it was, or new and empty; run the same again"):
        # of a Space, until its README.md says what it is
        space_sdk = "static" if repo_type == "space" else None
        api.create_repo(**where, private=private, exist_ok=True, space_sdk=space_sdk)
        api.auth_check(**where, write=True)  # the call above succeeds for a repository that one may only see
        is_private = bool(api.repo_info(**where).private)
    if private and not is_private:
        raise PermissionError(
            f"the {repo_type} {repo_id} exists and is public; nothing was sent. Make it private first."
        )
    return is_private


def push_folder(
    folder: Path,
    repo_id: str,
    *,
    message: str,
    own_patterns: Sequence[str],
    names: Sequence[str] | None = None,
    private: bool = False,
    branch: str = DEFAULT_BRANCH,
    tag: str | None = None,
    repo_type: str = "model",
    token: str | None = None,
) -> PushedCommit:
    """
    Make the repository and the branch if they are not there, and commit what is in `folder`.

    `HfApi.upload_folder` may send a folder in several commits; here the branch names the old revision until the last
    byte is there, and then the new one.

    Args:
        own_patterns: what a publication of this kind writes; files of that name that are not sent now are deleted.
        names (*optional*): of the files to send, with `/`; all of them when absent.
        private, repo_type: see [`make_repository`].
        tag: must not exist yet; it is not made here.

    Raises:
        PermissionError: see [`make_repository`].
        ValueError: the tag exists.
        OSError: the Hub refused, or the connection broke; the branch names what it named before, or all of `folder`.
    """
    api = HfApi(token=token)
    where = {"repo_id": repo_id, "repo_type": repo_type}
    is_private = make_repository(repo_id, private=private, repo_type=repo_type, token=token)
    with _errors_of_the_connection(f"{repo_id} is as it was, or has all of the new revision; run the same again"):
        if tag is not None and tag in {known.name for known in api.list_repo_refs(**where).tags}:
            raise ValueError(f"{repo_id} has a tag {tag} already; nothing was sent. Choose another.")
        if branch != DEFAULT_BRANCH:
            api.create_branch(**where, branch=branch, exist_ok=True)
        before = api.repo_info(**where, revision=branch)
        names, there = names or sent_files(folder), {sibling.rfilename for sibling in before.siblings}
        old = sorted(there - {*names, ".gitattributes"})
        deleted = tuple(name for name in old if any(fnmatch(name, pattern) for pattern in own_patterns))
        commit = api.create_commit(
            **where,
            operations=[
                *(CommitOperationDelete(name, is_folder=False) for name in deleted),
                *(CommitOperationAdd(name, folder / name) for name in names),
            ],
            commit_message=message,
            revision=branch,
            # somebody else's commit in between is an error, not overwritten
            parent_commit=before.sha,
        )
    foreign = tuple(name for name in old if name not in deleted)
    return PushedCommit(commit.oid, before.sha, commit.commit_url, is_private, deleted, foreign)


def make_tag(repo_id: str, tag: str, commit: str, token: str | None = None) -> None:
    """
    Raises:
        OSError: the Hub refused, or the connection broke.
    """
    with _errors_of_the_connection(f"{repo_id} has the new revision {commit}, maybe without its tag {tag}"):
        HfApi(token=token).create_tag(repo_id, tag=tag, revision=commit)


@contextmanager
def _errors_of_the_connection(state: str) -> Iterator[None]:
    """The client's errors as the OSErrors that those of an answer are; `state` says what is there now."""
    try:
        yield
    except HfHubHTTPError:
        raise
    except (HTTPError, RuntimeError) as error:  # of the connection; and what an upload of large files wraps it in
        causes = [str(entry) for entry in (error, error.__cause__) if entry is not None]
        raise ConnectionError(f"sending to the Hub failed ({': '.join(causes)}); {state}") from error
