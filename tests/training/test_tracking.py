"""`report_to`: a run's numbers in a TensorBoard file and in trackio's database, read back by their own libraries."""

import json
import os
import subprocess
import sys

import pytest


PROGRAM = """
import json, sys
import torch
from micron_bert_hf import MicronBertConfig, MicronBertForPreTraining, MicronBertImageProcessor
from micron_bert_hf.training import PretrainingArguments, RunArguments, pretrain

clips, folder, report_to = sys.argv[1:]
model = MicronBertForPreTraining(MicronBertConfig(
    image_size=16, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
    decoder_hidden_size=16, decoder_num_hidden_layers=1, decoder_num_attention_heads=2, decoder_intermediate_size=16,
))
result = pretrain(
    model, MicronBertImageProcessor(size={"height": 16, "width": 16}), clips,
    PretrainingArguments(max_steps=3, batch_size=4, pairs_per_clip=1),
    RunArguments(folder, report_to=report_to, num_workers=0, logging_steps=1, progress=False),
)
print(json.dumps([entry["loss"] for entry in result.history]))
"""


def losses(clips, folder, report_to, **environment):
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(clips), str(folder), report_to],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return last_json(process.stdout)


def last_json(output):
    """trackio has its own word at the end."""
    return json.loads([line for line in output.splitlines() if line.startswith("[")][-1])


def test_tensorboard_gets_every_number(clips, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    expected = losses(clips, tmp_path / "out", "tensorboard")
    (folder,) = {path.parent for path in (tmp_path / "out").rglob("events.out.tfevents*")}
    events = EventAccumulator(str(folder)).Reload()
    assert set(events.Tags()["scalars"]) >= {"loss", "learning_rate", "token_variance", "data_wait_share"}
    scalars = events.Scalars("loss")
    assert [scalar.step for scalar in scalars] == [1, 2, 3]
    assert [scalar.value for scalar in scalars] == pytest.approx(expected)


def test_trackio_gets_every_number(clips, tmp_path):
    expected = losses(clips, tmp_path / "out", "trackio", TRACKIO_DIR=str(tmp_path / "trackio"))
    read = (
        "import json; from trackio.sqlite_storage import SQLiteStorage as S; p = 'micron-bert-pretraining';"
        " (run,) = S.get_runs(p); print(json.dumps([row.get('loss') for row in S.get_logs(p, run)]))"
    )
    process = subprocess.run(
        [sys.executable, "-c", read],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "TRACKIO_DIR": str(tmp_path / "trackio")},
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert last_json(process.stdout) == pytest.approx(expected)
