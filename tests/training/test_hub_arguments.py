"""A finished model goes to the Hub, and whoever may not send it there is told before the work; on one rank of two."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import HubServer
from publisher import TOKEN

from micron_bert_hf.publishing import model as publishing
from micron_bert_hf.training import HubArguments, PretrainingResult


SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "run_pretraining.py"
CREATE = "POST /api/repos/create"
COMMIT = "POST /api/models/{repo}/commit/{revision}"
# Imports once, then forks two ranks, as a launcher starts them, twice: with a token that is wrong, and with the right
# one. What is published is only named.
RANKS = """
import os, sys
import torch
torch.set_num_threads(1)
from micron_bert_hf.training import HubArguments, hub_arguments

hub_arguments.publish_model = lambda folder, repo_id, **options: f"published {folder} as {repo_id}, {options}"

def work(rank, port):
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", ACCELERATE_USE_CPU="true")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port, GLOO_SOCKET_IFNAME="lo")
    arguments = HubArguments("user/name", private=True)
    try:
        arguments.check()
        arguments.publish("model")
        said = f"rank {rank} has ended"
    except OSError as error:
        said = f"rank {rank}: {error}"
    os.write(1, (said + "\\n").encode())

for token, port in (("hf_wrong", sys.argv[1]), (sys.argv[3], sys.argv[2])):
    os.environ["HF_TOKEN"] = token
    children = []
    for rank in range(2):
        child = os.fork()
        if child == 0:
            work(rank, port)
            sys.stdout.flush()  # of what `publish` printed
            os._exit(0)
        children.append(child)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
"""


@pytest.fixture
def main(monkeypatch, clips, tmp_path):
    """`run_pretraining.py` on tiny clips, into OUT, publishing as `user/pretrained`."""
    spec = importlib.util.spec_from_file_location("run_pretraining", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sizes = {"image_size": 16, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {f"decoder_{name}": size for name, size in sizes.items() if name != "image_size"}
    sizes |= {"intermediate_size": 16, "decoder_intermediate_size": 16}
    options = [f"--model.{name}={size}" for name, size in sizes.items()]
    options += [f"--dataset={clips}", "--max_steps=2", "--batch_size=4", "--num_workers=0", "--progress=false"]

    def main(*more):
        words = [str(SCRIPT), *options, "--output_dir", tmp_path / "out", "--push_to_hub", "user/pretrained", *more]
        monkeypatch.setattr(sys, "argv", list(map(str, words)))
        return module.main()

    return main


def test_pretraining_publishes_when_it_is_finished_and_once_more(
    main, hub_of_this_process, tmp_path, monkeypatch, capsys
):
    hub, answers = hub_of_this_process, {}
    isolated_answer = publishing.isolated_answer

    def answer(*arguments, **options):
        # of a folder and of the Hub, in a process of its own the first time; later the same, without its seconds
        kind = "folder" if options.get("revision") is None else "hub"
        if kind not in answers:
            answers[kind] = isolated_answer(*arguments, **options)
        return answers[kind]

    monkeypatch.setattr(publishing, "isolated_answer", answer)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert main() == 1
    assert "401" in capsys.readouterr().err and not (tmp_path / "out").exists()

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.fail(COMMIT, 1, 500)
    assert main("--report_to", "tensorboard") == 1  # the run is finished, and its model not published
    assert "500" in capsys.readouterr().err and (tmp_path / "out" / "provenance.json").exists()
    assert main() == 0
    printed = capsys.readouterr().out
    assert "Nothing to do" in printed and "Published user/pretrained, public" in printed
    repository = hub.state()["repos"]["user/pretrained"]
    files = set(repository["revisions"][repository["branches"]["main"]])
    assert len(repository["revisions"]) == 2 and set(answers) == {"folder", "hub"}
    assert files >= {"README.md", "model.safetensors", "provenance.json"}
    assert not files & {"run.json", "history.json", "summary.png"}
    assert "left out: " in printed and "micron-bert-pretraining" in printed


def test_a_run_that_was_stopped_is_not_published(main, hub_of_this_process, monkeypatch):
    hub = hub_of_this_process
    stopped = PretrainingResult([], 0.0, 0.0, stopped_by=signal.SIGTERM)
    monkeypatch.setattr("micron_bert_hf.training.pretrain", lambda *arguments: stopped)
    assert main() == 0
    (files,) = hub.state()["repos"]["user/pretrained"]["revisions"].values()
    assert set(files) == {".gitattributes"}  # as it was made


def test_of_two_ranks_both_hear_of_a_refusal_and_one_publishes(tmp_path):
    def free_port():
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return str(probe.getsockname()[1])

    with HubServer(TOKEN) as hub:
        environment = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", RANKS, free_port(), free_port(), TOKEN],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
        state = hub.state()
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    refused, ended = sorted(lines[:2]), sorted(lines[2:])
    for rank, line in enumerate(refused):
        assert line.startswith(f"rank {rank}: Client error '401 Unauthorized'")
    assert ended[0].startswith("published model as user/name, {'private': True") and ended[1:] == [
        "rank 0 has ended",
        "rank 1 has ended",
    ]
    assert state["repos"]["user/name"]["private"] and sum(call[0] == CREATE for call in state["calls"]) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"push_to_hub": "name"}, "must be named USER/NAME"),
        ({"private": True}, "it is missing"),
        ({"license": "mit"}, "it is missing"),
    ],
)
def test_what_cannot_be_meant(options, message):
    with pytest.raises(ValueError, match=message):
        HubArguments(**options)
