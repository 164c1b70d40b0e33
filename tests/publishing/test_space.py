"""A Space over a model: what is sent, that it runs where nothing else is installed, and that it is tried before."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import HubServer
from huggingface_hub import SpaceCard
from packaging.requirements import Requirement
from page_server import free_port, page_server
from publisher import TOKEN, start_publisher

from micron_bert_hf import MicronBertModel
from micron_bert_hf.hub import save_for_hub
from micron_bert_hf.publishing import space as space_module
from micron_bert_hf.publishing.space import publish_space, try_space, write_space_folder


ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def hub():
    with HubServer(TOKEN) as server:
        yield server
        assert server.state()["unknown"] == []


@pytest.fixture(scope="module")
def publisher(hub, tmp_path_factory):
    with start_publisher(hub, tmp_path_factory.mktemp("publisher")) as publisher:
        yield publisher


def install(requirements, target):
    """A folder of libraries that holds what a list of requirements brings along, and nothing else."""
    target.mkdir()
    waiting, known = [(Requirement(line), "") for line in requirements], set()
    while waiting:
        requirement, extra = waiting.pop()
        key = requirement.name.lower().replace("_", "-"), extra
        if key in known or (requirement.marker and not requirement.marker.evaluate({"extra": extra})):
            continue
        known.add(key)
        distribution = importlib.metadata.distribution(requirement.name)
        for top in {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}:
            if not (target / top).exists():
                (target / top).symlink_to(distribution.locate_file(top))
        for line in distribution.requires or ():
            waiting += [(Requirement(line), extra) for extra in ("", *requirement.extras)]
    return target


def test_a_space_runs_from_what_was_sent(hub, publisher, make_folder, tmp_path):
    """By the command line; then `app.py` with the libraries of `requirements.txt` alone and the model from the Hub."""
    assert publisher.call("command", "publish", make_folder(), "user/page", "--space") == 0
    repos = hub.state()["repos"]
    model, space = repos["user/page"], repos["spaces/user/page"]
    assert len(space["revisions"]) == 2  # made, and one commit
    folder = Path(publisher.call("download", "user/page", repo_type="space", local_dir=str(tmp_path / "space")))
    sent = set(space["revisions"][space["branches"]["main"]])
    assert {"app.py", "requirements.txt", "README.md", "LICENSE", "micron_bert_hf/web/page.py"} < sent
    assert not [name for name in sent if "__pycache__" in name or name.endswith((".pyc", ".pyi"))]
    assert f'"user/page", "{model["branches"]["main"]}"' in (folder / "app.py").read_text()
    card = SpaceCard.load(folder / "README.md").data
    assert (card.sdk, card.models, card.license) == ("gradio", ["user/page"], "apache-2.0")
    assert f"gradio=={card.sdk_version}" in (folder / "requirements.txt").read_text().splitlines()

    libraries = install((folder / "requirements.txt").read_text().splitlines(), tmp_path / "libraries")
    port = free_port()
    environment = {
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_SERVER_PORT": str(port),
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_DISABLE_XET": "1",
        "HOME": str(tmp_path / "home"),
        "OMP_NUM_THREADS": "1",
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(libraries),
    }
    # without `site` Python knows the libraries of that folder, and no package that is installed in another way
    python = [sys.executable, "-S"]
    absent = subprocess.run([*python, "-c", "import micron_bert_hf"], env=environment, capture_output=True, text=True)
    assert "No module named 'micron_bert_hf'" in absent.stderr
    with page_server([*python, "app.py"], folder, environment, port) as server:
        examples = folder / "micron_bert_hf" / "web" / "examples"
        onset, apex = (
            {"path": str(examples / f"surprise_{part}.png"), "meta": {"_type": "gradio.FileData"}}
            for part in ("onset", "apex")
        )
        answered = server.compare(onset, apex)
        assert answered["success"] and answered["output"]["data"][0].count("<figure>") == 4
        assert server.stop() == 0


def test_a_space_is_as_private_as_its_model_and_a_public_one_stops_both(hub, publisher, make_folder):
    publisher.call("make_repo", "user/closed", private=True)
    assert publisher.call("command", "publish", make_folder(), "user/closed", "--space") == 0
    repos = hub.state()["repos"]
    assert repos["user/closed"]["private"] and repos["spaces/user/closed"]["private"]

    publisher.call("make_repo", "user/open", repo_type="space", space_sdk="static")
    assert publisher.call("command", "publish", make_folder(), "user/open", "--space", "--private") == 1
    repos = hub.state()["repos"]
    assert len(repos["user/open"]["revisions"]) == len(repos["spaces/user/open"]["revisions"]) == 1  # made, no commit


@pytest.mark.parametrize("is_link", [False, True], ids=["file", "link"])
def test_strange_files_among_the_source_are_refused_by_name(tmp_path, monkeypatch, is_link):
    source, secret = tmp_path / "source", tmp_path / "secret.py"
    shutil.copytree(space_module._SOURCE, source, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(space_module, "_SOURCE", source)
    (source / ".hidden.py").write_text("neither sent nor refused")
    write_space_folder(tmp_path / "clean", "user/page")
    names = [path.relative_to(tmp_path / "clean" / "micron_bert_hf") for path in (tmp_path / "clean").rglob("m*/**/*")]
    assert {name.as_posix() for name in names} == {
        path.relative_to(source).as_posix() for path in source.rglob("*") if path.name != ".hidden.py"
    }
    secret.write_text("hf_secret")
    if is_link:
        (source / "web" / "linked.py").symlink_to(secret)
    else:
        (source / "web" / "token.txt").write_text("hf_secret")
    with pytest.raises(ValueError, match="holds web/linked.py" if is_link else "holds web/token.txt"):
        write_space_folder(tmp_path / "space", "user/page")
    assert not (tmp_path / "space").exists()


def test_an_encoder_and_a_name_without_a_user_are_refused_before_anything_is_done(
    tmp_path, make_folder, tiny_config, image_processor
):
    encoder = save_for_hub(tmp_path / "encoder", model=MicronBertModel(tiny_config), image_processor=image_processor)
    with pytest.raises(ValueError, match="shows a classifier, and .* holds none"):
        publish_space(encoder, "user/page")
    with pytest.raises(ValueError, match="must be named USER/NAME"):
        publish_space(make_folder(), "page")


def test_a_space_that_does_not_run_is_not_sent(make_folder, tmp_path):
    """It is the package of the folder that is tried, not the one that is installed here."""
    write_space_folder(tmp_path / "space", "user/page")
    (tmp_path / "space" / "micron_bert_hf" / "__init__.py").write_text("raise RuntimeError('broken')")
    with pytest.raises(ValueError, match="RuntimeError: broken"):
        try_space(tmp_path / "space", make_folder())


def test_the_example_is_what_is_sent(tmp_path):
    """`examples/space`, for people to read, but for the source of this package and the versions of this machine."""
    write_space_folder(tmp_path / "space", "USER/NAME")
    for name in ("app.py", "README.md", "requirements.txt"):
        here, there = ((folder / name).read_text() for folder in (tmp_path / "space", ROOT / "examples" / "space"))
        versions = r"\d+(\.\d+)+"
        assert re.sub(versions, "X", here) == re.sub(versions, "X", there), name
