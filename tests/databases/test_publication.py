"""Upload of a converted set: refused unless allowed, then private, without contact sheets; and the command line."""

import subprocess
import sys
from pathlib import Path

import pytest
import trees
from hub_server import HubServer

from micron_bert_hf import cli
from micron_bert_hf.databases import DATABASES, ConversionOptions, convert_database
from micron_bert_hf.databases.publication import push_dataset


TOKEN = "hf_test"
ROUND_TRIP = """
import sys
import datasets
from huggingface_hub import HfApi
from micron_bert_hf.cli import main
from micron_bert_hf.databases.publication import push_dataset

raw, out = sys.argv[1:]
sys.argv = ["micron-bert", "convert-dataset", "smic", raw, out, "--push-to-hub", "user/smic", "--i-may-redistribute"]
try:
    main()
except SystemExit as end:
    assert not end.code
rows = datasets.load_dataset("user/smic", split="train")
print(HfApi().dataset_info("user/smic").private, rows["sample_id"][:], rows[0]["frames"][0].size)
HfApi().create_repo("user/open", repo_type="dataset")
try:
    push_dataset(out, "user/open", i_may_redistribute=True)
except PermissionError as error:
    print(error)
"""


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["micron-bert", "convert-dataset", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code


def test_upload_is_refused_before_any_work(tmp_path, monkeypatch, capsys):
    raw = trees.write_smic(tmp_path / "raw")
    assert run(monkeypatch, "smic", raw, tmp_path / "out", "--push-to-hub", "user/smic") == 1
    assert "signed agreement" in capsys.readouterr().err and not (tmp_path / "out").exists()
    convert_database(DATABASES["smic"], raw, tmp_path / "out", options=ConversionOptions(), progress=False)
    with pytest.raises(PermissionError, match="SMIC is given away by signed agreement.*--i-may-redistribute"):
        push_dataset(tmp_path / "out", "user/smic")
    with pytest.raises(FileNotFoundError, match="no finished converted set"):
        push_dataset(raw, "user/smic", i_may_redistribute=True)


def test_upload_is_private_and_loads_again(tmp_path):
    """By the unmodified clients, in a process of their own, against a Hub on the loopback."""
    raw = trees.write_smic(tmp_path / "raw")
    with HubServer(TOKEN, lfs=("*.parquet",)) as hub:
        environment = {
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": TOKEN,
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",
            "PATH": "",
        }
        command = [sys.executable, "-c", ROUND_TRIP, str(raw), str(tmp_path / "out")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
        state = hub.state()
        assert done.returncode == 0, (done.stderr[-3000:], state["unknown"])
    assert (
        "Uploaded to" in done.stdout
        and "True ['s1_ne_01', 's1_po_02', 's11_ne_07', 's3_sur_01'] (40, 48)" in done.stdout
    )
    assert "user/open is public; SMIC may go to a private repository only" in done.stdout
    branch = state["repos"]["datasets/user/smic"]["branches"]["main"]
    files = state["repos"]["datasets/user/smic"]["revisions"][branch]
    assert {Path(name).parts[0] for name in files} == {
        ".gitattributes",
        "README.md",
        "conversion.json",
        "data",
        "repairs.csv",
    }
    assert len(state["repos"]["datasets/user/open"]["revisions"]) == 1  # nothing was sent
    assert state["unknown"] == []


def test_the_command_line(tmp_path, monkeypatch, capsys):
    raw = trees.write_casme2(tmp_path / "raw folder")
    assert run(monkeypatch, "casme2", raw, tmp_path / "out", "--frames", "clip", "--image-size", "32") == 0
    printed = capsys.readouterr().out
    assert "CASME II: read CASME2-coding-20140508.xlsx" in printed and "6 rows" in printed
    assert run(monkeypatch, "casme2", tmp_path / "absent", tmp_path / "out2") == 1
    assert capsys.readouterr().err.startswith("micron-bert: there is no folder")
    assert run(monkeypatch, "casme2", raw, tmp_path / "out2", "--strict") == 1
    assert "--strict refuses" in capsys.readouterr().err


@pytest.mark.parametrize("script", sorted(path.stem for path in Path("dataset_scripts").glob("*.py")))
def test_each_script_is_its_converter(script, tmp_path, monkeypatch, capsys):
    path = Path("dataset_scripts", f"{script}.py")
    monkeypatch.setattr(sys, "argv", [str(path), str(tmp_path / "absent"), str(tmp_path / "out")])
    with pytest.raises(SystemExit) as end:
        exec(compile(path.read_text(encoding="utf-8"), path, "exec"), {"__name__": "__main__"})
    assert end.value.code == 1
    expected = "takes three converted sets" if script == "megc2019" else "there is no folder"
    assert expected in capsys.readouterr().err


def test_there_is_a_script_for_every_converter():
    assert {path.stem for path in Path("dataset_scripts").glob("*.py")} == {*DATABASES, "megc2019"}
