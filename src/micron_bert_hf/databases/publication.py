"""Upload of a converted set, which its database's agreement forbids unless the user says otherwise."""

import os
from pathlib import Path

from huggingface_hub import HfApi

from ..run_files import read_json
from .report import CONVERSION_NAME, SHEETS_FOLDER


def check_permission(title: str, i_may_redistribute: bool) -> None:
    """
    Raises:
        PermissionError: the user has not said that the agreement allows an upload.
    """
    if not i_may_redistribute:
        raise PermissionError(
            f"{title} is given away by signed agreement and not to be passed on; nothing was uploaded. If your"
            " agreement allows it, say so with --i-may-redistribute; the repository is then private."
        )


def push_dataset(
    folder: str | os.PathLike, repo_id: str, *, i_may_redistribute: bool = False, token: str | None = None
) -> str:
    """
    Upload a converted set, without its contact sheets, to a private repository.

    Args:
        folder: of a finished conversion.
        repo_id (`str`): `USER/NAME`; made if it does not exist.
        i_may_redistribute (`bool`): the agreement allows it.

    Returns:
        The address of the commit.

    Raises:
        PermissionError: it is not allowed, or the repository exists and is public.
        FileNotFoundError: `folder` is no finished set.
    """
    description = read_json(Path(folder) / CONVERSION_NAME)
    if description is None:
        raise FileNotFoundError(f"{folder} is no finished converted set: it has no {CONVERSION_NAME}")
    check_permission(description["title"], i_may_redistribute)
    api = HfApi(token=token)
    repo_id = api.create_repo(repo_id, repo_type="dataset", private=True, exist_ok=True).repo_id
    if not api.dataset_info(repo_id).private:
        raise PermissionError(f"{repo_id} is public; {description['title']} may go to a private repository only")
    commit = api.upload_folder(
        repo_id=repo_id,
        folder_path=folder,
        repo_type="dataset",
        ignore_patterns=[f"{SHEETS_FOLDER}/*", ".*"],
        commit_message=f"{description['title']}, fingerprint {description['fingerprint']}",
    )
    return commit.commit_url
