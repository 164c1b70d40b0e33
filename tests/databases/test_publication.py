"""Converted sets to a Hub, refused unless allowed, then private and without contact sheets; and the command line."""

import json
import sys
from pathlib import Path

import pytest
import trees
from hub_server import HubServer
from publisher import TOKEN, PublisherError, start_publisher

from micron_bert_hf import cli
from micron_bert_hf.databases import DATABASES, ConversionOptions, convert_database
from micron_bert_hf.publishing.dataset import publish_dataset


CREATE, COMMIT = "POST /api/repos/create", "POST /api/datasets/{repo}/commit/{revision}"
LFS_PUT = "PUT /{key}/{oid}"
SAMPLES = ["s1_ne_01", "s1_po_02", "s11_ne_07", "s3_sur_01"]


@pytest.fixture(scope="module")
def hub():
    with HubServer(TOKEN, lfs=("*.parquet",)) as server:
        yield server
        assert server.state()["unknown"] == []


@pytest.fixture(scope="module")
def publisher(hub, tmp_path_factory):
    with start_publisher(hub, tmp_path_factory.mktemp("publisher")) as publisher:
        yield publisher


@pytest.fixture
def convert(tmp_path):
    """SMIC, all of it or some clips, as a converted set; of another length, no shard is one of those sent before."""

    def convert(*clips, length=12):
        name = f"smic-{len(clips)}"
        raw = trees.write_smic(tmp_path / f"{name}-raw", length=length, **({"clips": clips} if clips else {}))
        convert_database(DATABASES["smic"], raw, tmp_path / name, options=ConversionOptions(), progress=False)
        return tmp_path / name

    return convert


def files_of(folder):
    """What is sent: all but the contact sheets and what is hidden."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in paths if path.parts[0] != "contact_sheets" and path.name[0] != "."}


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["micron-bert", "convert-dataset", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code


def test_upload_is_refused_before_any_work(convert, tmp_path, monkeypatch, capsys):
    raw = trees.write_smic(tmp_path / "raw")
    assert run(monkeypatch, "smic", raw, tmp_path / "out", "--push-to-hub", "user/smic") == 1
    assert "signed agreement" in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert run(monkeypatch, "smic", raw, tmp_path / "out", "--push-to-hub", "smic", "--i-may-redistribute") == 1
    assert "must be named USER/NAME" in capsys.readouterr().err and not (tmp_path / "out").exists()
    with pytest.raises(PermissionError, match="SMIC is given away by signed agreement.*--i-may-redistribute"):
        publish_dataset(convert(), "user/smic")
    with pytest.raises(FileNotFoundError, match="no finished converted set"):
        publish_dataset(raw, "user/smic", i_may_redistribute=True)


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_damaged_set_is_refused(convert, damage):
    folder = convert()
    shard = next((folder / "data").glob("*.parquet"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "missing":
        shard.unlink()
    else:
        shard.write_bytes(content)
    with pytest.raises((FileNotFoundError, ValueError), match="lacks data/train-|is damaged"):
        publish_dataset(folder, "user/smic", i_may_redistribute=True)


def test_the_command_publishes_privately_and_the_set_loads_again(hub, publisher, tmp_path):
    """Shards by LFS, the rest the regular way; by the unmodified `datasets`."""
    raw, out = trees.write_smic(tmp_path / "raw"), tmp_path / "out"
    options = ("--push-to-hub", "user/smic", "--i-may-redistribute")
    hub.fail(CREATE, 1, 403)
    assert publisher.call("command", "convert-dataset", "smic", raw, out, *options) == 1
    assert not out.exists()  # told of before the work
    assert publisher.call("command", "convert-dataset", "smic", raw, out, *options) == 0
    assert publisher.call("rows", "user/smic") == [SAMPLES, [40, 48]]
    repo = hub.state()["repos"]["datasets/user/smic"]
    assert repo["private"] and list(repo["revisions"])[1:] == [repo["branches"]["main"]]  # one commit
    files = repo["revisions"][repo["branches"]["main"]]
    assert set(files) == files_of(out) | {".gitattributes"} and (out / "contact_sheets").is_dir()
    shards = json.loads((out / "conversion.json").read_text())["shards"]
    assert {name: f"sha256:{files[name]}" for name in shards} == shards

    publisher.call("make_repo", "user/open", repo_type="dataset")
    with pytest.raises(PublisherError, match="user/open exists and is public; nothing was sent"):
        publisher.call("dataset", out, "user/open", i_may_redistribute=True)
    assert len(hub.state()["repos"]["datasets/user/open"]["revisions"]) == 1


def test_files_that_a_new_conversion_lacks_are_deleted_and_others_stay(hub, publisher, convert, tmp_path):
    """By the regular way, all of it."""
    hub.take_by_lfs()
    whole, less = convert(), convert("s1_ne_01", "s3_sur_01")
    first = publisher.call("dataset", whole, "user/again", i_may_redistribute=True)
    assert f"files:   {len(files_of(whole))}, each there with its checksum" in first["report"]
    (tmp_path / "notes.txt").write_text("mine")
    publisher.call("upload", tmp_path / "notes.txt", "user/again", "notes.txt", repo_type="dataset")
    second = publisher.call("dataset", less, "user/again", i_may_redistribute=True)
    assert second["pushed"]["deleted"] == sorted(files_of(whole) - files_of(less)) != []
    assert second["pushed"]["foreign"] == ["notes.txt"]
    repo = hub.state()["repos"]["datasets/user/again"]
    assert set(repo["revisions"][second["pushed"]["commit"]]) == files_of(less) | {".gitattributes", "notes.txt"}
    assert publisher.call("rows", "user/again") == [["s1_ne_01", "s3_sur_01"], [40, 48]]
    assert publisher.call("rows", "user/again", revision=first["pushed"]["commit"])[0] == SAMPLES
    unchanged = publisher.call("dataset", less, "user/again", i_may_redistribute=True)
    assert "(nothing had changed)" in unchanged["report"]
    hub.take_by_lfs("*.parquet")


def test_a_push_that_fails_leaves_the_old_set(hub, publisher, convert):
    whole, less = convert(length=20), convert("s1_ne_01", "s3_sur_01")
    publisher.call("dataset", less, "user/fails", i_may_redistribute=True)
    before = hub.state()["repos"]["datasets/user/fails"]
    for endpoint, fault in ((CREATE, 500), (LFS_PUT, 503), (COMMIT, 500), (COMMIT, "request")):
        hub.fail(endpoint, 99 if endpoint == LFS_PUT else 1, fault)
        if endpoint == COMMIT:  # a connection that breaks once while shards are sent is a delay, no more
            hub.fail(LFS_PUT, 1, "request")
        with pytest.raises(PublisherError) as caught:
            publisher.call("dataset", whole, "user/fails", i_may_redistribute=True)
        hub.fail(endpoint, 0, fault)
        assert "OSError" in caught.value.kinds and [endpoint, fault] in hub.state()["calls"]
        assert hub.state()["repos"]["datasets/user/fails"] == before
    assert [LFS_PUT, "request"] in hub.state()["calls"]
    assert publisher.call("rows", "user/fails") == [["s1_ne_01", "s3_sur_01"], [40, 48]]
    publisher.call("dataset", whole, "user/fails", i_may_redistribute=True)
    assert publisher.call("rows", "user/fails")[0] == SAMPLES


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
