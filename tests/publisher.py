"""A process of the unmodified clients of the Hub that does what it is told, and reaches nothing but the loopback."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hub_server import HubServer


TOKEN = "hf_test"
# A line of JSON in, a line out. What anything prints goes to standard error.
PUBLISHER = """
import json, os, sys, tempfile
from pathlib import Path

# the second is what `datasets` makes of the Hub's address, and leads nowhere
LOOPBACK = ("127.0.0.1", b"127.0.0.1", "datasets-server.127.0.0.1")

def loopback_only(event, args):
    address = args[1] if event == "socket.connect" else args
    if event in ("socket.connect", "socket.getaddrinfo") and address[0] not in LOOPBACK:
        os.write(2, f"{event}{args} is not on the loopback".encode())
        os._exit(97)

sys.addaudithook(loopback_only)
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

from huggingface_hub import HfApi, ModelCard, snapshot_download
from micron_bert_hf import MicronBertForMicroExpressionClassification
from micron_bert_hf.publishing import publish_metric, publish_model
from micron_bert_hf.publishing.dataset import publish_dataset
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

def dataset(folder, repo_id, **options):
    publication = publish_dataset(folder, repo_id, **options)
    return {**vars(publication), "pushed": vars(publication.pushed), "report": str(publication)}

def rows(repo_id, **options):
    import datasets
    rows = datasets.load_dataset(repo_id, split="train", cache_dir=tempfile.mkdtemp(), **options)
    return [rows["sample_id"][:], rows[0]["frames"][0].size]

def command(*words):
    from micron_bert_hf import cli
    sys.argv = ["micron-bert", *words]
    try:
        cli.main()
    except SystemExit as end:
        return end.code

def load(repo_id, folder, **options):
    MicronBertForMicroExpressionClassification.from_pretrained(
        repo_id, cache_dir=tempfile.mkdtemp(), **options).save_pretrained(folder)

def download(repo_id, **options):
    return snapshot_download(repo_id, cache_dir=tempfile.mkdtemp(), **options)

def make_repo(repo_id, **options):
    return HfApi().create_repo(repo_id, **options).repo_id

def upload(path, repo_id, name, **options):
    HfApi().upload_file(path_or_fileobj=path, path_in_repo=name, repo_id=repo_id, **options)

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


@contextmanager
def start_publisher(hub: HubServer, folder: Path) -> Iterator[Publisher]:
    """`folder` gets its cache and all that it writes besides."""
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
            process.wait(timeout=60)
        finally:
            process.kill()
            process.stdout.close()
    said = (folder / "stderr").read_text()
    if "is not on the loopback" in said:
        raise AssertionError(said[-2000:])
