"""Runs that are killed, asked to stop, or cannot write: real processes, real signals, a real limit of the disk."""

import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from micron_bert_hf.training.checkpoints import finished_checkpoints, read_step


ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "examples" / "run_pretraining.py"
# Imports once, then forks a child for every line of its input, a number of seconds, and kills it after that long.
# Prints how each ended.
DRIVER = """
import json, os, signal, sys, time
import torch
torch.set_num_threads(1)
from micron_bert_hf import MicronBertConfig, MicronBertForPreTraining, MicronBertImageProcessor
from micron_bert_hf.training import PretrainingArguments, RunArguments, pretrain

fields, clips, output_dir, arguments, options = json.loads(sys.argv[1])
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        os.setsid()
        torch.manual_seed(0)
        model = MicronBertForPreTraining(MicronBertConfig(**fields))
        height, width = model.config.image_height_width
        processor = MicronBertImageProcessor(size={"height": height, "width": width})
        pretrain(model, processor, clips, PretrainingArguments(**arguments), RunArguments(output_dir, **options))
        os._exit(0)
    deadline = time.monotonic() + float(line)
    status = 0
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            break
        time.sleep(0.005)
    else:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    print("ended", os.waitstatus_to_exitcode(status), flush=True)
"""
FIELDS = {
    "image_size": 16,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "hidden_dropout_prob": 0.1,
    "decoder_hidden_size": 24,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 48,
}
ARGUMENTS = {"max_steps": 150, "batch_size": 4, "base_learning_rate": 0.06, "pairs_per_clip": 1, "seed": 3}
OPTIONS = {"save_steps": 3, "picture_steps": 0, "num_workers": 0, "progress": False}


def driver(clips, output_dir):
    content = json.dumps([FIELDS, str(clips), str(output_dir), ARGUMENTS, OPTIONS])
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, content],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def ask(process, seconds):
    """Exit status of a run that is killed after so many seconds, and how long it took."""
    process.stdin.write(f"{seconds}\n")
    process.stdin.flush()
    start = time.monotonic()
    while not (line := process.stdout.readline()).startswith("ended "):
        assert line, "the driver is gone"
    return int(line.split()[1]), time.monotonic() - start


def test_twenty_kills_at_random_instants_change_no_bit(clips, tmp_path):
    """
    Also in the middle of writing a checkpoint, which is done after every third step. A run that gets through before
    its kill is followed by another, until 20 were killed; all end in the same bytes.
    """
    straight = driver(clips, tmp_path / "straight")
    ask(straight, 0)  # until it has imported
    ending, whole = ask(straight, 600)
    straight.communicate()
    assert ending == 0
    expected = (tmp_path / "straight" / "model.safetensors").read_bytes()

    generator = random.Random(0)
    kills, resumed_from = 0, set()
    for attempt in range(20):
        folder = tmp_path / f"broken{attempt}"
        broken = driver(clips, folder)
        ask(broken, 0)
        ending, reached = None, 0
        while ending != 0:
            ending, _ = ask(broken, generator.uniform(0, whole / 8) if kills < 20 else 600)
            assert ending in (0, -signal.SIGKILL)
            kills += ending != 0
            step = max((read_step(checkpoint) for checkpoint in finished_checkpoints(folder)), default=0)
            assert step >= reached  # no kill loses a checkpoint
            reached = step
            resumed_from.add(reached)
        broken.communicate()
        assert (folder / "model.safetensors").read_bytes() == expected
        assert not list(folder.glob(".*.partial"))
        if kills >= 20:
            break
    assert kills >= 20 and len(resumed_from) >= 4, (kills, resumed_from)


@pytest.fixture(scope="module")
def recipe(clips, tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    lines = [f"dataset: {clips}", "batch_size: 4", "base_learning_rate: 0.06", "pairs_per_clip: 1", "num_workers: 1"]
    lines += ["model:", *(f"  {name}: {value}" for name, value in FIELDS.items())]
    path.write_text("\n".join(lines) + "\n")
    return path


def script(recipe, output_dir, *options, environment=None):
    command = [sys.executable, str(SCRIPT), str(recipe), "--output_dir", str(output_dir), *map(str, options)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
    )


def wait_for_checkpoint(process, folder):
    deadline = time.monotonic() + 240
    while not any(folder.glob("checkpoint-*")):
        assert process.poll() is None, process.stderr.read()[-3000:]
        assert time.monotonic() < deadline, "no checkpoint after 240 s"
        time.sleep(0.02)


def test_the_script_stops_when_asked_survives_a_kill_and_ends_as_if_nothing_had_been(recipe, tmp_path):
    """SIGTERM to the whole group, as a cluster sends it (workers too), then SIGKILL, then to the end."""
    options = ("--max_steps", 400, "--save_steps", 5, "--picture_steps", 0)
    straight = script(recipe, tmp_path / "straight", *options)
    output, error = straight.communicate(timeout=600)
    assert straight.returncode == 0, error[-3000:]
    assert "0.000937 = 0.06 x 4 / 256" in output

    folder = tmp_path / "broken"
    stopped = script(recipe, folder, *options)
    wait_for_checkpoint(stopped, folder)
    os.killpg(stopped.pid, signal.SIGTERM)
    output, error = stopped.communicate(timeout=120)
    assert stopped.returncode == 0, error[-3000:]
    assert "Stopped as asked" in output
    step = read_step(next(finished_checkpoints(folder)))
    assert 0 < step < 400 and not (folder / "model.safetensors").exists()

    killed = script(recipe, folder, *options)
    deadline = time.monotonic() + 240
    while read_step(next(finished_checkpoints(folder))) == step:
        assert killed.poll() is None, killed.stderr.read()[-3000:]
        assert time.monotonic() < deadline, "no further checkpoint after 240 s"
        time.sleep(0.02)
    killed.kill()
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL

    finished = script(recipe, folder, *options)
    output, error = finished.communicate(timeout=600)
    assert finished.returncode == 0, error[-3000:]
    assert "going on after step" in output
    first, second = ((path / "model.safetensors").read_bytes() for path in (tmp_path / "straight", folder))
    assert first == second


def test_two_processes_at_once_are_refused(recipe, tmp_path):
    first = script(recipe, tmp_path / "out", "--max_steps", 100_000, "--save_steps", 2, "--picture_steps", 0)
    wait_for_checkpoint(first, tmp_path / "out")
    second = script(recipe, tmp_path / "out", "--max_steps", 100_000, "--save_steps", 2, "--picture_steps", 0)
    _, error = second.communicate(timeout=240)
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=120)
    assert second.returncode == 1 and "being written by another process" in error and "Traceback" not in error
    assert first.returncode == 128 + signal.SIGINT


def test_a_full_disk_is_an_error_that_keeps_the_last_checkpoint(recipe, tmp_path):
    """The limit on the size of a file stands for the disk: writing past it fails as a full disk does, with OSError."""
    folder = tmp_path / "out"
    options = ("--max_steps", 3_000, "--save_steps", 4, "--picture_steps", 0)
    command = [sys.executable, str(SCRIPT), str(recipe), "--output_dir", str(folder), *map(str, options)]

    def run(limit):
        def limit_files():
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(
            command, capture_output=True, text=True, timeout=240, preexec_fn=limit_files, env=environment
        )

    first = script(recipe, folder, *options)
    wait_for_checkpoint(first, folder)
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=120)
    last = next(finished_checkpoints(folder))
    failed = run(20_000)
    assert failed.returncode == 1 and "Traceback" not in failed.stderr, failed.stderr[-3000:]
    assert "could not be written" in failed.stderr and f"the last good checkpoint is {last}" in failed.stderr
    assert next(finished_checkpoints(folder)) == last and not list(folder.glob(".checkpoint*"))
    going_on = script(recipe, folder, *options)
    deadline = time.monotonic() + 240
    while next(finished_checkpoints(folder)) == last:
        assert going_on.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    going_on.kill()
    going_on.communicate(timeout=60)


def test_a_folder_that_cannot_be_made_is_an_error(recipe, tmp_path):
    (tmp_path / "file").write_text("in the way")
    process = script(recipe, tmp_path / "file" / "out", "--max_steps", 2)
    _, error = process.communicate(timeout=240)
    assert process.returncode == 1 and "file/out" in error and "Traceback" not in error


RANK_OPTIONS = (
    *("--max_steps", 12, "--save_steps", 6, "--logging_steps", 1, "--picture_steps", 0, "--batch_size", 2),
    *("--num_crops", 2, "--model.contextual_agreement", "self_distillation", "--model.hidden_dropout_prob", 0.0),
    *("--model.projection_hidden_size", 24, "--model.projection_output_size", 12),
)


def ranks(recipe, output_dir, *options, port):
    """Two processes as Slurm starts them, without a launcher in between."""
    environment = {"ACCELERATE_USE_CPU": "true", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    environment |= {"WORLD_SIZE": "2", "GLOO_SOCKET_IFNAME": "lo"}
    return [
        script(recipe, output_dir, *options, environment={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(2)
    ]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def check_same(one, other):
    """Losses to 1e-5 and weights to 1e-4: Adam brings the rounding of a small gradient to the size of a step."""
    histories = [json.loads((folder / "history.json").read_text()) for folder in (one, other)]
    assert len(histories[0]) == len(histories[1]) == 12
    for entry, twin in zip(*histories):
        for name in ("loss", "reconstruction_loss", "contextual_agreement_loss", "learning_rate"):
            assert entry[name] == pytest.approx(twin[name], abs=1e-5), name
    weights = [load_file(folder / "model.safetensors") for folder in (one, other)]
    for name, tensor in weights[0].items():
        if not name.endswith("k_proj.bias"):  # a gradient of rounding alone
            assert (tensor - weights[1][name]).abs().max() < 1e-4, name


def test_two_ranks_learn_what_one_learns_with_twice_the_accumulation(recipe, tmp_path):
    """From the launcher; and a run of one process goes on with two."""
    alone = script(recipe, tmp_path / "alone", *RANK_OPTIONS, "--gradient_accumulation_steps", 2)
    _, error = alone.communicate(timeout=300)
    assert alone.returncode == 0, error[-3000:]

    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(SCRIPT)]
    together = subprocess.run(
        [*launcher, str(recipe), "--output_dir", str(tmp_path / "together"), *map(str, RANK_OPTIONS)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
    )
    assert together.returncode == 0, together.stderr[-3000:]
    assert "4 pairs = 2 a forward x 1 accumulated x 2 process(es)" in together.stdout
    check_same(tmp_path / "alone", tmp_path / "together")

    (tmp_path / "changed").mkdir()
    shutil.copy(tmp_path / "alone" / "run.json", tmp_path / "changed" / "run.json")
    shutil.copytree(tmp_path / "alone" / "checkpoint-00000006", tmp_path / "changed" / "checkpoint-00000006")
    for process in ranks(recipe, tmp_path / "changed", *RANK_OPTIONS, port=free_port()):
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0, error[-3000:]
    check_same(tmp_path / "alone", tmp_path / "changed")


def test_two_ranks_stop_after_the_same_step_when_one_is_asked(recipe, tmp_path):
    options = (*RANK_OPTIONS, "--max_steps", 100_000, "--save_steps", 3)
    processes = ranks(recipe, tmp_path / "out", *options, port=free_port())
    wait_for_checkpoint(processes[0], tmp_path / "out")
    processes[1].send_signal(signal.SIGTERM)
    for process in processes:
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error[-3000:]
    files = {path.name for path in next(finished_checkpoints(tmp_path / "out")).iterdir()}
    assert {"random-00000.pt", "random-00001.pt"} <= files


def test_what_the_main_process_refuses_all_ranks_report(recipe, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("dear")
    for process in ranks(recipe, tmp_path / "out", *RANK_OPTIONS, port=free_port()):
        _, error = process.communicate(timeout=120)
        assert process.returncode == 1 and "thesis.txt" in error and "Traceback" not in error


def test_nowhere_to_keep_the_model_is_an_error(recipe):
    process = subprocess.run([sys.executable, str(SCRIPT), str(recipe)], capture_output=True, text=True, timeout=240)
    assert process.returncode == 1 and "--output_dir is missing" in process.stderr
