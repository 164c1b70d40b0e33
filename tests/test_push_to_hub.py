"""
To the Hub and back, by unmodified clients in processes of their own, against `hub_server.py` on the loopback.

A client that opens a connection to any other place ends at once (`LOOPBACK_ONLY`).
"""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import torch
from hub_server import HubServer

from micron_bert_hf import (
    MicroExpressionClassificationPipeline,
    MicronBertForMicroExpressionClassification,
    MicronBertImageProcessor,
)
from micron_bert_hf.hub import save_for_hub


REPO, TOKEN = "user/name", "hf_test"
COMMIT = "POST /api/models/{repo}/commit/{revision}"
LFS_PUT, LFS_GET, LFS_VERIFY = "PUT /{key}/{oid}", "GET /{key}/{oid}", "POST /lfs/verify"

LOOPBACK_ONLY = """
import json, os, sys

def loopback_only(event, args):
    address = args[1] if event == "socket.connect" else args
    if event in ("socket.connect", "socket.getaddrinfo") and address[0] not in ("127.0.0.1", b"127.0.0.1"):
        os.write(2, f"{event}{args} is not on the loopback".encode())
        os._exit(97)

sys.addaudithook(loopback_only)
arguments = json.loads(sys.argv[1])
"""

PUSH = """
from micron_bert_hf import MicronBertForMicroExpressionClassification

MicronBertForMicroExpressionClassification.from_pretrained(arguments["folder"]).push_to_hub(arguments["repo"])
"""

UPLOAD = """
from huggingface_hub import HfApi

if arguments["create"]:
    HfApi().create_repo(arguments["repo"], exist_ok=True)
print(HfApi().upload_folder(repo_id=arguments["repo"], folder_path=arguments["folder"]).oid)
"""

DOWNLOAD = """
from huggingface_hub import snapshot_download

for revision in arguments["revisions"]:
    print(snapshot_download(arguments["repo"], revision=revision))
"""

LOAD = """
import numpy as np
import torch
from micron_bert_hf import MicronBertForMicroExpressionClassification

torch.set_num_threads(arguments["threads"])
model = MicronBertForMicroExpressionClassification.from_pretrained(arguments["repo"]).eval()
with torch.no_grad():
    outputs = model(torch.from_numpy(np.load(arguments["given"])["pixel_values"]))
result = {f"outputs.{key}": value for key, value in outputs.items()}
result |= {f"weights.{key}": value for key, value in model.state_dict().items()}
np.savez(arguments["out"], **{key: value.numpy() for key, value in result.items()})
"""

LOAD_REMOTE_CODE = """
sys.path.append(arguments["site_packages"])  # under -S: no .pth file, so no editable install
sys.modules["micron_bert_hf"] = None

import numpy as np
import torch
from transformers import AutoImageProcessor, AutoModelForVideoClassification, pipeline

torch.set_num_threads(arguments["threads"])
trust = {"trust_remote_code": True}
given = np.load(arguments["given"])
pair = tuple(given["frames"])
processor = AutoImageProcessor.from_pretrained(arguments["repo"], **trust)
model = AutoModelForVideoClassification.from_pretrained(arguments["repo"], **trust).eval()
classify = pipeline("micro-expression-classification", model=arguments["repo"], device="cpu", **trust)
for part in (processor, model, classify, classify.model, classify.image_processor):
    assert type(part).__module__.startswith("transformers_modules.user.name."), type(part)
with torch.no_grad():
    outputs = model(torch.from_numpy(given["pixel_values"]))
result = {f"outputs.{key}": value.numpy() for key, value in outputs.items()}
result |= {f"weights.{key}": value.numpy() for key, value in model.state_dict().items()}
result["processed"] = processor(pair, return_tensors="np")["pixel_values"]
np.savez(arguments["out"], **result)
print(json.dumps(classify([pair, pair[::-1]])))
"""


@pytest.fixture
def start_hub():
    """Start a server; at the end of the test none may have been asked for what it does not know."""
    servers = []

    def start(**options):
        server = HubServer(TOKEN, **options)
        server.__enter__()
        servers.append(server)
        return server

    yield start
    try:
        for server in servers:
            assert server.state()["unknown"] == []
    finally:
        for server in servers:
            server.__exit__()


@pytest.fixture
def image_processor():
    return MicronBertImageProcessor(size={"height": 24, "width": 40})


@pytest.fixture
def make_folder(tiny_config, image_processor, tmp_path):
    """A classifier's folder with weights by a seed."""

    def make(seed):
        torch.manual_seed(seed)
        tiny_config.id2label = {0: "negative", 1: "positive", 2: "surprise"}
        model = MicronBertForMicroExpressionClassification(tiny_config)
        torch.nn.init.normal_(model.classifier.weight)  # probabilities that show a difference
        return save_for_hub(tmp_path / f"model-{seed}", model=model, image_processor=image_processor)

    return make


@pytest.fixture
def given(image_processor, frame_pair, tmp_path):
    """What is computed here and there: frames and their pixel values, in a file."""
    path = tmp_path / "given.npz"
    np.savez(path, frames=np.stack(frame_pair), pixel_values=image_processor(frame_pair)["pixel_values"])
    return path


@pytest.fixture
def run_client(tmp_path):
    """Run a script as a user's process with an empty cache; isolated, it sees no package but the installed ones."""
    count = 0

    def run(script, hub, *, token=TOKEN, isolated=False, **arguments):
        nonlocal count
        count += 1
        home = str(tmp_path / f"home-{count}")
        environment = {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": home,
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_OFFLINE": "0",
            "HF_TOKEN": token,
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",
            "HOME": home,
            "PATH": os.environ["PATH"],
        }
        arguments = {"repo": REPO, "create": True, "threads": torch.get_num_threads()} | arguments
        arguments["site_packages"] = sysconfig.get_paths()["purelib"]
        return subprocess.run(
            [sys.executable, *(["-I", "-S"] if isolated else []), "-c", LOOPBACK_ONLY + script]
            + [json.dumps(arguments, default=str)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            cwd=tmp_path,
        )

    return run


def succeed(process):
    """What a client printed; it must have ended well."""
    assert process.returncode == 0, process.stderr[-4000:]
    return process.stdout.split("\n")


def assert_loaded(out, folder, given, processed=None):
    """Weights and outputs in `out` are those of the folder, to the last bit."""
    # from the file here as well: a tensor's place in memory decides the last bit of a product
    model = MicronBertForMicroExpressionClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        outputs = model(torch.from_numpy(np.load(given)["pixel_values"]))
    expected = {f"outputs.{key}": value.numpy() for key, value in outputs.items()}
    expected |= {f"weights.{key}": value.numpy() for key, value in model.state_dict().items()}
    if processed is not None:
        expected["processed"] = processed
    loaded = dict(np.load(out))
    assert set(loaded) == set(expected)
    for key, value in expected.items():
        assert loaded[key].dtype == value.dtype
        np.testing.assert_array_equal(loaded[key], value, err_msg=key)


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".gitattributes"}


def test_push_to_hub_and_from_pretrained(start_hub, run_client, make_folder, given, tmp_path):
    """The model's own `push_to_hub`; the weights by LFS, as the real Hub wants them."""
    hub, folder = start_hub(lfs=("*.safetensors",)), make_folder(1)
    succeed(run_client(PUSH, hub, folder=folder))
    state = hub.state()
    files = list(state["repos"][REPO]["revisions"].values())[-1]
    assert set(files) >= {"README.md", "config.json", "model.safetensors"}
    assert state["objects"] == [files["model.safetensors"]]

    succeed(run_client(LOAD, hub, given=given, out=tmp_path / "out.npz"))
    assert_loaded(tmp_path / "out.npz", folder, given)
    assert [LFS_GET, 200] in hub.state()["calls"]


@pytest.mark.parametrize(
    ("options", "lfs_files"),
    [({}, 0), ({"lfs": ("*.safetensors",), "lfs_above": 40_000}, 2)],
    ids=["regular", "lfs"],
)
def test_folder_loads_from_the_hub_where_the_package_is_not(
    start_hub, run_client, make_folder, image_processor, frame_pair, given, tmp_path, options, lfs_files
):
    """Either way of upload; by LFS the weights for their name, and the modeling code for its size."""
    hub, folder = start_hub(**options), make_folder(1)
    succeed(run_client(UPLOAD, hub, folder=folder))
    calls = hub.state()["calls"]
    assert calls.count([LFS_PUT, 200]) == calls.count([LFS_VERIFY, 200]) == lfs_files == len(hub.state()["objects"])

    printed = succeed(run_client(LOAD_REMOTE_CODE, hub, isolated=True, given=given, out=tmp_path / "out.npz"))
    processed = image_processor(frame_pair, return_tensors="np")["pixel_values"]
    assert_loaded(tmp_path / "out.npz", folder, given, processed)
    classify = MicroExpressionClassificationPipeline(
        model=MicronBertForMicroExpressionClassification.from_pretrained(folder),
        image_processor=image_processor,
        device="cpu",
    )
    assert json.loads(printed[-2]) == classify([frame_pair, frame_pair[::-1]])
    assert hub.state()["calls"].count([LFS_GET, 200]) == lfs_files  # each once: the pipeline takes them from the cache


def test_wrong_token(start_hub, run_client, make_folder):
    """A clear error and nothing changed, be it a new repository, one that is there, or an upload without asking."""
    hub, folder = start_hub(lfs=("*.safetensors",)), make_folder(1)

    def assert_refused(create):
        before = hub.state()
        process = run_client(UPLOAD, hub, token="hf_wrong", folder=other, create=create)
        assert process.returncode == 1
        error = process.stderr.split("Error: ")[-1]  # the last of the chain: what a user reads
        assert "401 Unauthorized" in error and "Invalid credentials in Authorization header" in error
        after = hub.state()
        assert (after["repos"], after["objects"]) == (before["repos"], before["objects"])

    other = make_folder(2)
    assert_refused(create=True)
    assert hub.state()["repos"] == {}
    succeed(run_client(UPLOAD, hub, folder=folder))
    assert_refused(create=True)
    assert_refused(create=False)


def test_server_error_in_the_middle_leaves_the_previous_revision(start_hub, run_client, make_folder, given, tmp_path):
    """Errors while the weights are sent, and when all is sent but not committed; then a third try succeeds."""
    hub, old, new = start_hub(lfs=("*.safetensors",)), make_folder(1), make_folder(2)
    old_id = succeed(run_client(UPLOAD, hub, folder=old))[0]
    before = hub.state()["repos"]
    for endpoint, objects in ((LFS_PUT, 1), (COMMIT, 2)):
        hub.fail(endpoint, 1000)  # a client tries an upload more than once
        process = run_client(UPLOAD, hub, folder=new)
        assert process.returncode == 1 and "500 Internal Server Error" in process.stderr
        assert [endpoint, 500] in hub.state()["calls"]
        assert hub.state()["repos"] == before and len(hub.state()["objects"]) == objects
        hub.fail(endpoint, 0)
    succeed(run_client(LOAD, hub, given=given, out=tmp_path / "out.npz"))
    assert_loaded(tmp_path / "out.npz", old, given)

    new_id = succeed(run_client(UPLOAD, hub, folder=new))[0]
    assert hub.state()["calls"].count([LFS_PUT, 200]) == 2  # what the second try sent is not sent again
    snapshots = succeed(run_client(DOWNLOAD, hub, revisions=["main", old_id]))
    assert [snapshots[0].rsplit("/", 1)[1], snapshots[1].rsplit("/", 1)[1]] == [new_id, old_id]
    assert files_of(Path(snapshots[0])) == files_of(new) and files_of(Path(snapshots[1])) == files_of(old)
