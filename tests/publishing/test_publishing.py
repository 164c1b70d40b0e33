"""
To a Hub and back by the unmodified clients, against `hub_server.py` on the loopback: a publisher's process, which
lives as long as this file, since starting one takes seconds, and the processes that a publication starts itself.
"""

import json
import os
import re
import subprocess
import sys

import pytest
from hub_server import HubServer
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file

from micron_bert_hf.hub import REMOTE_CODE


TOKEN = "hf_test"
CREATE, COMMIT = "POST /api/repos/create", "POST /api/models/{repo}/commit/{revision}"
PREUPLOAD = "POST /api/models/{repo}/preupload/{revision}"
LFS_PUT, LFS_GET = "PUT /{key}/{oid}", "GET /{key}/{oid}"
TAG = "POST /api/models/{repo}/tag/{revision}"

# A line of JSON in, a line out. What anything prints goes to standard error.
PUBLISHER = """
import json, os, sys, tempfile
from pathlib import Path

def loopback_only(event, args):
    address = args[1] if event == "socket.connect" else args
    if event in ("socket.connect", "socket.getaddrinfo") and address[0] not in ("127.0.0.1", b"127.0.0.1"):
        os.write(2, f"{event}{args} is not on the loopback".encode())
        os._exit(97)

sys.addaudithook(loopback_only)
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

from huggingface_hub import HfApi, ModelCard, snapshot_download
from micron_bert_hf import MicronBertForMicroExpressionClassification
from micron_bert_hf.publishing import publish_metric, publish_model
from micron_bert_hf.publishing.folder import OWN_PATTERNS
from micron_bert_hf.publishing.push import push_folder

def push(folder, repo_id, **options):
    pushed = push_folder(Path(folder), repo_id, message="a try", own_patterns=OWN_PATTERNS, **options)
    return vars(pushed)

def publish(folder, repo_id, **options):
    publication = publish_model(folder, repo_id, **options)
    return {**vars(publication), "pushed": vars(publication.pushed), "commit": publication.commit,
            "report": str(publication)}

def metric(name, repo_id, **options):
    publication = publish_metric(name, repo_id, **options)
    return {"commit": publication.pushed.commit, "report": str(publication)}

def load(repo_id, folder, **options):
    MicronBertForMicroExpressionClassification.from_pretrained(
        repo_id, cache_dir=tempfile.mkdtemp(), **options).save_pretrained(folder)

def download(repo_id, **options):
    return snapshot_download(repo_id, cache_dir=tempfile.mkdtemp(), **options)

def make_repo(repo_id, **options):
    return HfApi().create_repo(repo_id, **options).repo_id

def upload(path, repo_id, name):
    HfApi().upload_file(path_or_fileobj=path, path_in_repo=name, repo_id=repo_id)

def push_late(folder, repo_id, other_file):
    # as `push`, but somebody else's commit is made at the last moment
    create_commit = HfApi.create_commit

    def late(self, *args, **options):
        HfApi.create_commit = create_commit
        upload(other_file, repo_id, "other.txt")
        return create_commit(self, *args, **options)

    HfApi.create_commit = late
    return push(folder, repo_id)

def run(code, folder):
    os.chdir(folder)
    names = {}
    exec(code, names)
    return names["found"]

def validate(text):
    ModelCard(text).validate()

for line in sys.stdin:
    call = json.loads(line)
    try:
        answer = {"value": globals()[call["name"]](*call["arguments"], **call["options"])}
    except Exception as error:
        answer = {"error": str(error), "kinds": [kind.__name__ for kind in type(error).__mro__]}
    answers.write(json.dumps(answer, default=str) + "\\n")
    answers.flush()
"""


class PublisherError(Exception):
    """What a call in the publisher's process raised; `kinds` are the names of its classes."""

    def __init__(self, message, kinds):
        super().__init__(message)
        self.kinds = kinds


class Publisher:
    def __init__(self, process):
        self.process = process

    def call(self, name, *arguments, **options):
        request = {"name": name, "arguments": arguments, "options": options}
        self.process.stdin.write(json.dumps(request, default=str) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the publisher's process ended with {self.process.wait(10)}"
        answer = json.loads(line)
        if "error" in answer:
            raise PublisherError(answer["error"], answer["kinds"])
        return answer["value"]


@pytest.fixture(scope="module")
def hub():
    with HubServer(TOKEN) as server:
        yield server
        assert server.state()["unknown"] == []


@pytest.fixture(scope="module")
def publisher(hub, tmp_path_factory):
    folder = tmp_path_factory.mktemp("publisher")
    environment = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(folder / "home"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_DISABLE_XET": "1",
        "HF_TOKEN": TOKEN,
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",
        "HOME": str(folder / "home"),
        "OMP_NUM_THREADS": "1",
        "PATH": os.environ["PATH"],
        "TMPDIR": str(folder),
    }
    with (folder / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", PUBLISHER],
            env=environment,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        yield Publisher(process)
        process.stdin.close()
        try:
            process.wait(timeout=10)
        finally:
            process.kill()
            process.stdout.close()
    assert "is not on the loopback" not in (folder / "stderr").read_text()


@pytest.fixture
def by_lfs(hub):
    """Weights go by LFS in this test, as the real Hub wants them."""
    hub.take_by_lfs("*.safetensors")
    yield
    hub.take_by_lfs()


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def weights(folder):
    return {name: tensor.tolist() for name, tensor in load_file(folder / "model.safetensors").items()}


def test_publish_by_the_regular_path_and_push_again(hub, publisher, make_folder, evaluation, frame_pair, tmp_path):
    """All of it, then with other weights and fewer files: one commit each, and the folder stays as it was."""
    folder = make_folder(1, results={**evaluation, "protocol": "holdout_subjects:2", "num_folds": 1, "uf1": 0.625})
    before = contents(folder)
    found = publisher.call("publish", folder, "user/first", results=evaluation, license="cc-by-nc-4.0")
    assert contents(folder) == before

    repo = hub.state()["repos"]["user/first"]
    assert list(repo["revisions"])[1:] == [found["commit"]] == [repo["branches"]["main"]] and not repo["private"]
    assert found["difference_before"] <= 1e-6 and found["difference_after"] <= 1e-6
    for words in (f"{hub.url}/user/first/commit/{found['commit']}", found["commit"], "public, branch main", "before:"):
        assert words in found["report"]
    evaluated = "evaluations/1-mer-synth-v1-group-kfold-5-micron-bert-tried.json"
    sent = {file.name for file in REMOTE_CODE} | {
        "README.md",
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "results.json",
        evaluated,
    }
    assert set(found["files"]) == sent and set(repo["revisions"][found["commit"]]) == sent | {".gitattributes"}

    snapshot = tmp_path / "snapshot"
    publisher.call("download", "user/first", local_dir=str(snapshot))
    card = (snapshot / "README.md").read_text()
    assert "0.712" in card and "0.625" in card and ModelCard(card).data.license == "cc-by-nc-4.0"
    publisher.call("validate", card)
    code = re.findall(r"```python\n(.*?)```", card, re.S)[1].replace('"COMMIT"', repr(found["commit"]))
    for name, frame in zip(("onset", "apex"), frame_pair):
        Image.fromarray(frame).save(tmp_path / f"{name}.png")
    (answer,) = publisher.call("run", code.replace("\nclassify({", "\nfound = classify({"), tmp_path)
    assert answer["label"] in evaluation["label_names"]
    for path in snapshot.rglob("*"):
        if path.is_file() and path.suffix != ".safetensors" and ".cache" not in path.parts:
            assert str(tmp_path) not in path.read_text() and "/home/somebody" not in path.read_text()

    # somebody adds a file of their own; the next revision has no evaluation, and leaves theirs alone
    (tmp_path / "mine.txt").write_text("mine")
    publisher.call("upload", tmp_path / "mine.txt", "user/first", "mine.txt")
    again = publisher.call("push", make_folder(2), "user/first")
    repo = hub.state()["repos"]["user/first"]
    assert again["deleted"] == [evaluated, "results.json"] and again["foreign"] == ["README.md", "mine.txt"]
    assert len(repo["revisions"]) == 4 and "mine.txt" in repo["revisions"][again["commit"]]
    assert evaluated not in repo["revisions"][again["commit"]]
    assert set(repo["revisions"][found["commit"]]) == sent | {".gitattributes"}  # the old revision is as it was


@pytest.mark.usefixtures("by_lfs")
def test_publish_by_lfs_private_to_a_branch_with_a_tag(hub, publisher, make_folder, tmp_path):
    folder = make_folder(1)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n\n# Mine\n")
    num_calls = len(hub.state()["calls"])
    found = publisher.call("publish", folder, "user/second", private=True, revision="candidate", tag="v1")
    state = hub.state()
    repo, calls = state["repos"]["user/second"], state["calls"][num_calls:]
    assert repo["private"] and repo["tags"] == {"v1": found["commit"]}
    assert repo["branches"]["candidate"] == found["commit"] != repo["branches"]["main"]
    assert list(repo["revisions"][repo["branches"]["main"]]) == [".gitattributes"]
    assert calls.count([LFS_PUT, 200]) == 1 and calls.count([LFS_GET, 200]) == 1
    assert calls.index([TAG, 200]) > calls.index([LFS_GET, 200])  # a tag names what was tried
    assert (
        "private, branch candidate, tag v1" in found["report"]
        and "README.md was written or edited by" in found["report"]
    )

    publisher.call("download", "user/second", revision="v1", local_dir=str(tmp_path / "snapshot"))
    assert (tmp_path / "snapshot" / "README.md").read_bytes() == (folder / "README.md").read_bytes()
    publisher.call("load", "user/second", tmp_path / "loaded", revision="v1")
    assert weights(tmp_path / "loaded") == weights(folder)
    with pytest.raises(PublisherError) as caught:
        publisher.call("download", "user/second", token=False)
    assert "RepositoryNotFoundError" in caught.value.kinds

    with pytest.raises(PublisherError, match="has a tag v1 already; nothing was sent"):
        publisher.call("push", make_folder(2), "user/second", tag="v1")
    assert hub.state()["repos"]["user/second"] == repo


@pytest.mark.usefixtures("by_lfs")
def test_a_push_that_fails_leaves_the_old_revision_or_the_whole_new_one(hub, publisher, make_folder, tmp_path):
    """Errors and broken connections at every step; the branch names the old revision until all is there."""
    old, new = make_folder(1), make_folder(2)
    first = publisher.call("push", old, "user/third")
    before = hub.state()["repos"]["user/third"]

    def assert_refused(endpoint, fault, times=1):
        hub.fail(endpoint, times, fault)
        with pytest.raises(PublisherError) as caught:
            publisher.call("push", new, "user/third")
        hub.fail(endpoint, 0, fault)
        assert "OSError" in caught.value.kinds, caught.value
        expected = str(fault) if isinstance(fault, int) else "run the same again"
        assert expected in str(caught.value)
        assert [endpoint, fault] in hub.state()["calls"]
        assert hub.state()["repos"]["user/third"] == before

    for fault in (500, "request", "answer"):
        assert_refused(CREATE, fault)
    assert_refused(LFS_PUT, 500, times=99)
    # a connection that breaks once while files are listed or weights are sent is a delay, no more
    hub.fail(PREUPLOAD, 1, "answer")
    hub.fail(LFS_PUT, 1, "request")
    for fault in (500, 503, "request"):
        assert_refused(COMMIT, fault)
    calls = hub.state()["calls"]
    assert [LFS_PUT, "request"] in calls and [PREUPLOAD, "answer"] in calls
    publisher.call("load", "user/third", tmp_path / "loaded")
    assert weights(tmp_path / "loaded") == weights(old)

    # one that breaks in the commit's answer leaves the new revision, which the same command then confirms
    hub.fail(COMMIT, 1, "answer")
    with pytest.raises(PublisherError, match="run the same again"):
        publisher.call("push", new, "user/third")
    repo = hub.state()["repos"]["user/third"]
    assert len(repo["revisions"]) == len(before["revisions"]) + 1
    confirmed = publisher.call("push", new, "user/third")
    assert confirmed["commit"] == confirmed["previous"] == repo["branches"]["main"] != first["commit"]
    publisher.call("load", "user/third", tmp_path / "loaded-new")
    assert weights(tmp_path / "loaded-new") == weights(new)


def test_a_wrong_token_and_a_repository_that_is_not_ours(hub, publisher, make_folder):
    folder = make_folder(1)
    publisher.call("push", folder, "user/fourth")
    before = hub.state()["repos"]
    for repo_id, options, message in (
        ("user/fourth", {"token": "hf_wrong"}, "Invalid credentials in Authorization header"),
        ("user/absent", {"token": "hf_wrong"}, "Invalid credentials in Authorization header"),
        ("somebody/else", {}, "403 Forbidden"),
        ("user/fourth", {"private": True}, "exists and is public; nothing was sent"),
    ):
        with pytest.raises(PublisherError, match=message) as caught:
            publisher.call("push", make_folder(2), repo_id, **options)
        assert "OSError" in caught.value.kinds
        assert hub.state()["repos"] == before


def test_a_commit_of_somebody_else_in_between_is_not_undone(hub, publisher, make_folder, tmp_path):
    publisher.call("push", make_folder(1), "user/busy")
    (tmp_path / "other.txt").write_text("other")
    with pytest.raises(PublisherError, match="412"):
        publisher.call("push_late", make_folder(2), "user/busy", tmp_path / "other.txt")
    repo = hub.state()["repos"]["user/busy"]
    assert "other.txt" in repo["revisions"][repo["branches"]["main"]] and len(repo["revisions"]) == 3


def test_a_pickle_stops_it_before_the_hub_is_asked(hub, publisher, make_folder):
    folder = make_folder(1)
    (folder / "pytorch_model.bin").write_bytes(b"")
    calls = hub.state()["calls"]
    with pytest.raises(PublisherError, match="pytorch_model.bin: a pickle"):
        publisher.call("publish", folder, "user/fifth")
    assert hub.state()["calls"] == calls


def test_a_metric_that_evaluate_loads(hub, publisher):
    """In a Space, under the repository's name and not the metric's."""
    found = publisher.call("metric", "mer", "user/my_scores")
    repo = hub.state()["repos"]["spaces/user/my_scores"]
    assert set(repo["revisions"][found["commit"]]) == {".gitattributes", "README.md", "index.html", "my_scores.py"}
    assert "before and after: evaluate.load" in found["report"] and "a public Space" in found["report"]
    with pytest.raises(PublisherError, match="Expected one of"):
        publisher.call("metric", "f1", "user/f1")
