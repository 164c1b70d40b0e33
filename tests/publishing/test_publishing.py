"""
To a Hub and back by the unmodified clients, against `hub_server.py` on the loopback: a publisher's process, and the
processes that a publication starts itself.
"""

import re

import pytest
from huggingface_hub import ModelCard
from PIL import Image
from publisher import PublisherError
from safetensors.torch import load_file

from micron_bert_hf.hub import REMOTE_CODE


CREATE, COMMIT = "POST /api/repos/create", "POST /api/models/{repo}/commit/{revision}"
PREUPLOAD = "POST /api/models/{repo}/preupload/{revision}"
LFS_PUT, LFS_GET = "PUT /{key}/{oid}", "GET /{key}/{oid}"
TAG = "POST /api/models/{repo}/tag/{revision}"
MAY_WRITE = "GET /api/models/{repo}/auth-check/write"


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
    # that may read only: nothing tells before something is sent but this question
    hub.fail(MAY_WRITE, 1, 403)
    num_calls = len(hub.state()["calls"])
    with pytest.raises(PublisherError, match="403 Forbidden"):
        publisher.call("push", make_folder(2), "user/fourth")
    assert hub.state()["calls"][num_calls:] == [[CREATE, 409], [MAY_WRITE, 403]]


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
