"""A model with a Space over it, see [`publish_space`]."""

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import distribution, requires, version
from pathlib import Path
from re import match, search
from string import Template
from tempfile import TemporaryDirectory

from huggingface_hub import SpaceCardData

from .folder import label_names, read_model_folder, sent_files
from .isolation import PACKAGE, ask
from .model import Publication, publish_model
from .push import DEFAULT_BRANCH, PushedCommit, check_repo_id, make_repository, push_folder
from .results import Source


DISTRIBUTION = "micron-bert-hf"
# What a publication writes: files of these names that a later one lacks are deleted.
_OWN_PATTERNS = ("app.py", "requirements.txt", "README.md", f"{PACKAGE}/*", "LICENSE*")
_SOURCE = Path(__file__).parents[1]
_APP, _TRIAL = _SOURCE / "web" / "space_app.py", _SOURCE / "web" / "space_trial.py"
_CARD = Path(__file__).with_name("space_card.md")
# Of the files that this package consists of. Whatever else lies among them is not ours to send.
_SUFFIXES = {".py", ".typed", ".md", ".css", ".png", ".mp4", ".npz", ".safetensors"}


@dataclass(frozen=True)
class SpacePublication:
    """
    Args:
        model (`Publication`): of the same name, which the Space shows.
        pushed (`PushedCommit`): of the Space.
        num_files, num_bytes (`int`): that were sent.
    """

    model: Publication
    pushed: PushedCommit
    num_files: int
    num_bytes: int

    def __str__(self) -> str:
        visibility = "private" if self.pushed.private else "public"
        lines = [
            str(self.model),
            f"Published the Space {self.model.repo_id}, {visibility}, over this commit of the model",
            f"  address: {self.pushed.url}",
            f"  commit:  {self.pushed.commit}",
            "  before:  the page was made, and a pair of pictures answered, from the folder in a process of its own",
            f"  files:   {self.num_files}, {self.num_bytes / 2**20:.1f} MiB, among them the source of {DISTRIBUTION}"
            f" {version(DISTRIBUTION)}, which no package index has",
        ]
        if self.model.pushed.private:
            lines.append(
                "  note:    the model is private: give the Space a secret HF_TOKEN that may read it, in its settings"
            )
        if self.pushed.foreign:
            lines.append(f"  kept:    {', '.join(self.pushed.foreign)}, which somebody else put there")
        return "\n".join(lines)


def publish_space(
    folder: str | os.PathLike,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    tag: str | None = None,
    results: Source | Sequence[Source] | None = None,
    license: str | None = None,
    token: str | None = None,
) -> SpacePublication:
    """
    [`publish_model`], and a Space of the same name over the commit that came of it. Before anything is sent, the page
    is made from the files of the Space, and answers, in a process of its own.

    Args: see [`publish_model`]; `revision` and `tag` are those of the model. The Space over a private model is too.

    Raises:
        ValueError: no classifier, a strange file in this package's source, or the page cannot be made; see also
            [`publish_model`].
        PermissionError: the model exists and is public, and is to be private; or the Space is, over a private model.
            Nothing was sent.
        OSError: see [`push_folder`]; the model may have been published.
    """
    check_repo_id(repo_id)
    if label_names(read_model_folder(Path(folder)).model) is None:
        raise ValueError(f"a Space shows a classifier, and {folder} holds none")
    with TemporaryDirectory() as temporary:
        space = Path(temporary) / "space"
        write_space_folder(space, repo_id)
        try_space(space, Path(folder))
        # both, before anything is sent to one of them
        is_private = make_repository(repo_id, private=private, token=token)
        make_repository(repo_id, private=is_private, repo_type="space", token=token)
        published = publish_model(
            folder,
            repo_id,
            private=private,
            revision=revision,
            tag=tag,
            results=results,
            license=license,
            token=token,
        )
        write_app(space, repo_id, published.commit)
        pushed = push_folder(
            space,
            repo_id,
            message=f"A page over {repo_id} at {published.commit[:12]}, by micron-bert publish",
            own_patterns=_OWN_PATTERNS,
            private=published.pushed.private,
            repo_type="space",
            token=token,
        )
        sizes = [(space / name).stat().st_size for name in sent_files(space)]
    return SpacePublication(published, pushed, len(sizes), sum(sizes))


def write_space_folder(target: Path, repo_id: str) -> None:
    """
    Everything that is sent, with the branch `main` of the model.

    Args:
        target: must not exist.
        repo_id (`str`): of the model.

    Raises:
        ValueError: among the source of this package there is what is no part of it.
    """
    names = _source_files()
    target.mkdir()
    for name in names:
        (target / PACKAGE / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_SOURCE / name, target / PACKAGE / name)
    for text in _license_texts():
        shutil.copyfile(text, target / text.name)
    write_app(target, repo_id, DEFAULT_BRANCH)
    (target / "requirements.txt").write_text("".join(f"{line}\n" for line in _requirements()), encoding="utf-8")
    (target / "README.md").write_text(_card(repo_id), encoding="utf-8")


def write_app(target: Path, repo_id: str, revision: str) -> None:
    """The one file that names the commit of the model, which is known only once the model has been sent."""
    named = _APP.read_text(encoding="utf-8").replace('"USER/NAME", "main"', f'"{repo_id}", "{revision}"')
    (target / "app.py").write_text(named, encoding="utf-8")


def try_space(space: Path, model: Path) -> None:
    """
    Raises:
        ValueError: from the files of `space`, and the libraries that are installed here, no page comes that answers
            with `model`.
    """
    with TemporaryDirectory() as folder:
        request = {"model": str(model.resolve()), "space": str(space.resolve())}
        found = ask(_TRIAL, request, Path(folder), online=False, hide_package=False)
    if not Path(found["module"]).is_relative_to(space.resolve()):
        raise ValueError(f"the page was made by {found['module']}, and not by the files of the Space")


def _source_files() -> list[Path]:
    """
    Of this package, relative to it, without what Python and others keep in `__pycache__` and hidden files.

    Raises:
        ValueError: it holds links, or files of another kind than its own; the message names them.
    """
    files, strange = [], []
    for path in sorted(_SOURCE.rglob("*")):
        name = path.relative_to(_SOURCE)
        if any(part == "__pycache__" or part.startswith(".") for part in name.parts):
            continue
        if not path.is_symlink() and path.is_file() and path.suffix in _SUFFIXES:
            files.append(name)
        elif path.is_symlink() or not path.is_dir():
            strange.append(name.as_posix())
    if strange:
        raise ValueError(
            f"the source of {DISTRIBUTION} holds {', '.join(strange[:5])} ({len(strange)}), which is no part of it;"
            " nothing was sent. Take it away first."
        )
    return files


def _requirements() -> Iterator[str]:
    """What this package needs for its page, as it is installed here."""
    for requirement in sorted(requires(DISTRIBUTION) or (), key=str.lower):
        name, extra = match(r"[\w.-]+", requirement)[0], search(r"extra == ['\"](\w+)['\"]", requirement)
        if extra is None or extra[1] == "web":
            # what follows a + is a build of one machine, which an index does not have
            yield f"{name}=={version(name).partition('+')[0]}"


def _license_texts() -> list[Path]:
    """Of the package as a whole; those of its parts lie beside them."""
    found = distribution(DISTRIBUTION)
    return [Path(found.locate_file(file)) for file in found.files or () if file.name == "LICENSE"]


def _card(repo_id: str) -> str:
    data = SpaceCardData(
        title="Micro-expressions",
        sdk="gradio",
        sdk_version=version("gradio"),
        python_version=f"{sys.version_info.major}.{sys.version_info.minor}",
        app_file="app.py",
        license="apache-2.0",
        models=[repo_id],
        tags=["micro-expression"],
    )
    text = Template(_CARD.read_text(encoding="utf-8")).substitute(model=repo_id, version=version(DISTRIBUTION))
    return f"---\n{data.to_yaml()}\n---\n\n{text}"
