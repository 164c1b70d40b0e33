"""A converted set to the Hub, which its database's agreement forbids unless the user says otherwise.

from micron_bert_hf.publishing.dataset import publish_dataset
publish_dataset("casme2", "user/casme2", i_may_redistribute=True)
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.hf_api import RepoFile

from ..data.clip_set import INDEX_NAME
from ..databases.report import CARD_NAME, CONVERSION_NAME, REPAIRS_NAME
from ..run_files import file_sha256, read_json
from .push import PublishedButWrongError, PushedCommit, make_repository, push_folder


# The files that a publication writes, so that those of an earlier one can be told from a stranger's.
OWN_PATTERNS = (CARD_NAME, CONVERSION_NAME, REPAIRS_NAME, INDEX_NAME, "data/train-*.parquet")


@dataclass(frozen=True)
class DatasetPublication:
    """
    Args:
        repo_id (`str`): as `datasets.load_dataset` takes it.
        pushed (`PushedCommit`)
        files (`tuple[str, ...]`): of the revision, as sent.
    """

    repo_id: str
    pushed: PushedCommit
    files: tuple[str, ...]

    def __str__(self) -> str:
        unchanged = " (nothing had changed)" if self.pushed.commit == self.pushed.previous else ""
        lines = [
            f"Published {self.repo_id}, a private data set",
            f"  address: {self.pushed.url}",
            f"  commit:  {self.pushed.commit}{unchanged}",
            f"  files:   {len(self.files)}, each there with its checksum",
        ]
        if self.pushed.deleted:
            lines.append(f"  deleted: {', '.join(self.pushed.deleted)}, of an earlier publication")
        if self.pushed.foreign:
            lines.append(f"  kept:    {', '.join(self.pushed.foreign)}, which somebody else put there")
        return "\n".join(lines)


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


def make_private_repository(repo_id: str, token: str | None = None) -> None:
    """
    What a long conversion may begin with: whoever may not upload finds out before it. Errors as of
    [`~micron_bert_hf.publishing.push.make_repository`].
    """
    make_repository(repo_id, private=True, repo_type="dataset", token=token)


def publish_dataset(
    folder: str | os.PathLike, repo_id: str, *, i_may_redistribute: bool = False, token: str | None = None
) -> DatasetPublication:
    """
    Send a converted set to a private repository in one commit, and compare what the Hub then has. The contact sheets,
    pictures of people made to be looked at, stay here.

    Args:
        folder: of a finished conversion.
        repo_id (`str`): `USER/NAME`; made if it does not exist.
        i_may_redistribute (`bool`): the agreement allows it.
        token (`str`, *optional*): else that which is logged in.

    Raises:
        PermissionError: it is not allowed, or the repository exists and is public; nothing was sent.
        FileNotFoundError, ValueError: `folder` is no finished set, lacks a file, or has a damaged shard; likewise.
        OSError: see [`~micron_bert_hf.publishing.push.push_folder`].
        PublishedButWrongError: it was sent, and the Hub has other files.
    """
    folder = Path(folder)
    description = read_json(folder / CONVERSION_NAME)
    if description is None:
        raise FileNotFoundError(f"{folder} is no finished converted set: it has no {CONVERSION_NAME}")
    check_permission(description["title"], i_may_redistribute)
    names = _checked_names(folder, description["shards"])
    pushed = push_folder(
        folder,
        repo_id,
        message=f"{description['title']}, fingerprint {description['fingerprint']}",
        own_patterns=OWN_PATTERNS,
        names=names,
        private=True,
        repo_type="dataset",
        token=token,
    )
    _check_revision(folder, repo_id, names, pushed, token)
    return DatasetPublication(repo_id, pushed, tuple(names))


def _checked_names(folder: Path, shards: Mapping[str, str]) -> list[str]:
    """
    The files to send, with `/`.

    Args:
        shards: name -> `"sha256:..."`, as the conversion left them.

    Raises:
        FileNotFoundError: one is missing.
        ValueError: a shard is not what it was.
    """
    names = [CARD_NAME, *shards, CONVERSION_NAME]
    for name in names:
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} lacks {name}; delete it and convert again")
    for name, digest in shards.items():
        if digest != f"sha256:{file_sha256(folder / name)}":
            raise ValueError(f"{folder / name} is damaged: it is not what the conversion wrote; nothing was sent")
    # a composite has no repairs of its own, and only long sets are sets of clips
    return names + [name for name in (REPAIRS_NAME, INDEX_NAME) if (folder / name).is_file()]


def _check_revision(folder: Path, repo_id: str, names: Sequence[str], pushed: PushedCommit, token: str | None) -> None:
    """Whether the Hub's revision has the files that were sent, by their checksums."""
    entries = HfApi(token=token).list_repo_tree(repo_id, recursive=True, revision=pushed.commit, repo_type="dataset")
    there = {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}
    for name in names:
        file = there.get(name)
        if file is None or not _is_same(folder / name, file):
            raise PublishedButWrongError(
                f"{repo_id} has the new revision {pushed.commit}, and in it {name} is missing or another file. The"
                f" revision before it is {pushed.previous}."
            )


def _is_same(path: Path, file: RepoFile) -> bool:
    if file.lfs is not None:
        return file.lfs.sha256 == file_sha256(path)
    content = path.read_bytes()  # of a few megabytes: larger files go by LFS
    return file.blob_id == hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
