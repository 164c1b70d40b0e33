"""The prediction table: identity travels with the row, each sample exactly once, order does not matter."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from micron_bert_hf import MicronBertConfig, MicronBertForMicroExpressionClassification, MicronBertImageProcessor
from micron_bert_hf.data import FramePairs
from micron_bert_hf.evaluation import PredictionTable, predict


def table(order=range(6), **changes):
    random = np.random.default_rng(0)
    columns = {
        "sample_ids": [f"clip{number}" for number in range(6)],
        "subject_ids": [f"s{number // 2}" for number in range(6)],
        "labels": random.integers(0, 3, 6),
        "scores": random.dirichlet(np.ones(3), 6),
    }
    columns.update(changes)
    order = list(order)
    return PredictionTable(
        tuple(columns["sample_ids"][row] for row in order),
        tuple(columns["subject_ids"][row] for row in order),
        columns["labels"][order],
        columns["scores"][order],
        ("a", "b", "c"),
    )


def test_shuffled_rows_score_the_same():
    straight, shuffled = table(), table([4, 2, 0, 5, 1, 3])
    assert shuffled.sample_ids != straight.sample_ids
    assert shuffled.score() == straight.score()


def test_rows_carry_names():
    row = table().to_rows()[3]
    assert (row["sample_id"], row["subject_id"]) == ("clip3", "s1")
    assert row["prediction"] == max(row["scores"], key=row["scores"].get)


def test_a_sample_predicted_twice_or_never_raises():
    with pytest.raises(ValueError, match="clip1.*more than once"):
        table([0, 1, 1])
    table().check_complete([f"clip{number}" for number in range(6)])
    with pytest.raises(ValueError, match=r"missing \['clip6'\] \(1\)"):
        table().check_complete([f"clip{number}" for number in range(7)])
    with pytest.raises(ValueError, match=r"unexpected \['clip5'\] \(1\)"):
        table().check_complete([f"clip{number}" for number in range(5)])


def test_scores_that_are_nan_or_of_another_shape_raise():
    scores = np.full((6, 3), np.nan)
    with pytest.raises(ValueError, match="finite"):
        table(scores=scores)
    with pytest.raises(ValueError, match=r"\(6, 2\)"):
        table(scores=np.ones((6, 2)))


def full_table():
    """6 samples of 3 people, predicted with seeds 1 and 0, in folds by person, of two databases."""
    plain = table()
    folds = tuple(f"fold{number // 2}" for number in range(6))
    one = replace(plain, datasets=("samm",) * 2 + ("casme2",) * 4, folds=folds, seeds=(1,) * 6)
    other = replace(one, seeds=(0,) * 6, scores=np.random.default_rng(1).dirichlet(np.ones(3), 6))
    return PredictionTable.concatenate([one, other])


def assert_same(found, expected):
    for name in ("sample_ids", "subject_ids", "datasets", "folds", "seeds", "label_names", "metadata"):
        assert getattr(found, name) == getattr(expected, name), name
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_a_table_without_databases_folds_and_seeds_has_one_of_each():
    plain = table()
    assert (plain.datasets, plain.folds, plain.seeds) == (("unnamed",) * 6, ("all",) * 6, (0,) * 6)
    with pytest.raises(ValueError, match=r"'folds': \(2,\)"):
        replace(plain, folds=("a", "b"))


def test_a_file_holds_all_of_a_table_in_one_order(tmp_path):
    written = replace(full_table(), metadata={"protocol": "loso", "crop": None, "seeds": [0, 1]})
    written.write(tmp_path / "straight.parquet")
    shuffled = np.random.default_rng(2).permutation(12)
    rows = {name: tuple(getattr(written, name)[row] for row in shuffled) for name in
            ("sample_ids", "subject_ids", "datasets", "folds", "seeds")}  # fmt: skip
    replace(written, **rows, labels=written.labels[shuffled], scores=written.scores[shuffled]).write(
        tmp_path / "shuffled.parquet"
    )
    found = PredictionTable.read(tmp_path / "straight.parquet")
    assert_same(PredictionTable.read(tmp_path / "shuffled.parquet"), found)
    pq.write_table(pq.read_table(tmp_path / "straight.parquet").take(shuffled), tmp_path / "shuffled.parquet")
    assert_same(PredictionTable.read(tmp_path / "shuffled.parquet"), found)
    assert found.seeds == (0,) * 6 + (1,) * 6
    assert found.datasets[:6] == ("casme2",) * 4 + ("samm",) * 2
    assert found.sample_ids[:6] == ("clip2", "clip3", "clip4", "clip5", "clip0", "clip1")
    assert found.metadata == {"protocol": "loso", "crop": None, "seeds": [0, 1]}
    for seed in (0, 1):
        assert found.for_seed(seed).score() == written.for_seed(seed).score()
        for name, row in zip(found.for_seed(seed).sample_ids, found.for_seed(seed).scores):
            np.testing.assert_array_equal(
                row, written.for_seed(seed).scores[written.for_seed(seed).sample_ids.index(name)]
            )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shuffled.parquet", "straight.parquet"]


def test_the_columns_are_those_that_are_promised(tmp_path):
    full_table().write(tmp_path / "table.parquet", metadata={"protocol": "loso"})
    stored = pq.read_table(tmp_path / "table.parquet")
    assert stored.column_names == ["sample_id", "subject_id", "dataset", "fold", "seed", "label", "scores"]
    assert stored.schema.field("scores").type == pa.list_(pa.float64())
    assert set(stored["label"].to_pylist()) <= {"a", "b", "c"}
    assert stored["seed"].to_pylist() == [0] * 6 + [1] * 6
    assert stored["dataset"].to_pylist()[:6] == ["casme2"] * 4 + ["samm"] * 2
    assert PredictionTable.read(tmp_path / "table.parquet").metadata == {"protocol": "loso"}


def test_single_precision_scores_and_labels_that_never_occur_survive(tmp_path):
    scores = np.array([[0.1, 0.2, 0.7], [0.3, 0.3, 0.4]], np.float32)
    PredictionTable(("a", "b"), ("s", "s"), np.array([2, 2]), scores, ("x", "y", "z")).write(tmp_path / "t.parquet")
    found = PredictionTable.read(tmp_path / "t.parquet")
    np.testing.assert_array_equal(found.scores, scores.astype(np.float64))
    assert (found.label_names, found.labels.tolist()) == (("x", "y", "z"), [2, 2])
    assert found.score()["per_class"]["x"]["num_samples"] == 0


def test_several_seeds_are_not_scored_as_one():
    with pytest.raises(ValueError, match=r"has \[0, 1\]; pick one with `for_seed`"):
        full_table().score()
    assert full_table().for_seed(1).score() == table().score()
    with pytest.raises(ValueError, match=r"seed 7, only of \[0, 1\]"):
        full_table().for_seed(7)


def test_a_database_is_scored_from_the_pooled_predictions():
    pooled = full_table().for_seed(1)
    part = pooled.select(np.array(pooled.datasets) == "samm")
    assert part.sample_ids == ("clip0", "clip1")
    np.testing.assert_array_equal(part.scores, table().scores[:2])
    for mask in (np.ones(5, bool), np.zeros(6, np.int64)):
        with pytest.raises(ValueError, match="mask of 6 booleans, got"):
            pooled.select(mask)


def test_every_seed_must_be_complete():
    names = [f"clip{number}" for number in range(6)]
    databases = ["samm"] * 2 + ["casme2"] * 4
    predicted = full_table()
    predicted.check_complete(names)
    predicted.check_complete(names, databases)
    with pytest.raises(
        ValueError, match=r"missing \[\('smic', 'clip5'\)\] \(1\), unexpected \[\('casme2', 'clip5'\)\]"
    ):
        predicted.check_complete(names, [*databases[:5], "smic"])
    with pytest.raises(ValueError, match=r"missing \['clip0'\] \(1\).* of seed 0"):
        predicted.select(np.arange(12) != 6).check_complete(names)
    with pytest.raises(ValueError, match=r"missing .*\(6\)"):
        predicted.select(np.zeros(12, bool)).check_complete(names)


def test_a_subject_in_two_folds_of_one_seed_raises():
    predicted = full_table()
    with pytest.raises(ValueError, match="samm/s0 is in the folds 'fold0' and 'elsewhere' of seed 1"):
        replace(predicted, folds=("fold0", "elsewhere", *predicted.folds[2:]))
    # the other seed may deal them otherwise, and another database's s0 is another person
    replace(predicted, folds=predicted.folds[:6] + ("elsewhere",) * 6)
    replace(predicted, subject_ids=("s0", "s0", "s0", "s0", "s2", "s2") * 2)


def test_one_name_in_two_databases_or_with_two_seeds_is_no_repetition():
    predicted = full_table()
    replace(predicted, sample_ids=("clip0", "clip1", "clip0", "clip1", "clip4", "clip5") * 2)
    with pytest.raises(ValueError, match=r"got .*\(0, 'casme2', 'clip2'\).*more than once"):
        PredictionTable.concatenate([predicted, predicted.for_seed(0)])


def test_a_label_outside_the_label_set_raises():
    with pytest.raises(ValueError, match=r"\[0, 3\), got -1 to 2"):
        table(labels=np.array([0, 1, 2, 2, 1, -1]))
    with pytest.raises(ValueError, match=r"\[0, 3\), got 0 to 3"):
        table(labels=np.array([0, 1, 2, 2, 1, 3]))


def test_tables_of_other_runs_are_not_joined():
    predicted = full_table()
    with pytest.raises(ValueError, match="differ in their `label_names`"):
        PredictionTable.concatenate([predicted, replace(predicted, label_names=("a", "b", "d"))])
    with pytest.raises(ValueError, match="differ in their `metadata`"):
        PredictionTable.concatenate([predicted, replace(predicted, metadata={"protocol": "loso"})])
    with pytest.raises(ValueError, match="at least one table"):
        PredictionTable.concatenate([])


def test_what_is_no_table_or_a_damaged_one_is_said(tmp_path):
    path = tmp_path / "table.parquet"
    with pytest.raises(FileNotFoundError, match="no table of predictions at .*table.parquet"):
        PredictionTable.read(path)
    full_table().write(path)
    content, stored = path.read_bytes(), pq.read_table(path)
    scores = content.index(np.float64(full_table().scores[0, 0]).tobytes())
    damaged = {
        "no Parquet": b"sample_id,label",
        "empty": b"",
        "cut": content[:-20],
        "a score": content[:scores] + bytes([content[scores] ^ 1]) + content[scores + 1 :],
    }
    for what, found in damaged.items():
        path.write_bytes(found)
        with pytest.raises(ValueError, match="table.parquet cannot be read as a table of predictions"):
            pytest.fail(f"{what}: {PredictionTable.read(path)}")
    metadata = stored.schema.metadata
    wrong = {
        "its columns are .*expected": stored.drop_columns(["fold"]),
        "of format version 1": stored.replace_schema_metadata(None),
        r"labels \['z'\] are not among \['a', 'b', 'c'\]": stored.set_column(
            5, "label", pa.array(["z"] * 12)
        ).replace_schema_metadata(metadata),
        r"missing in \['fold'\]": stored.set_column(3, "fold", pa.nulls(12, pa.string())),
        "2 scores for 3 labels": stored.set_column(6, "scores", pa.array([[0.5, 0.5]] * 12, pa.list_(pa.float64()))),
        "finite": stored.set_column(6, "scores", pa.array([[np.nan] * 3] * 12, pa.list_(pa.float64()))),
        "more than once": pa.concat_tables([stored, stored]),
    }
    for message, found in wrong.items():
        pq.write_table(found, path)
        with pytest.raises(ValueError, match=message):
            PredictionTable.read(path)


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "table.parquet"
    full_table().write(path)
    content = path.read_bytes()
    with pytest.raises(ValueError, match="JSON compliant"):
        full_table().write(path, metadata={"uf1": float("nan")})
    assert path.read_bytes() == content


def test_predict_is_the_model_row_by_row_and_leaves_it_as_it_was():
    torch.manual_seed(0)
    names = ("a", "b", "c")
    config = MicronBertConfig(
        image_size=16,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        classifier_dropout=0.5,
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
    )
    model = MicronBertForMicroExpressionClassification(config).train()
    random = np.random.default_rng(0)
    rows = [
        {
            "sample_id": f"clip{number}",
            "subject_id": "s",
            "onset": random.integers(0, 256, (16, 16, 3), dtype=np.uint8),
            "apex": random.integers(0, 256, (16, 16, 3), dtype=np.uint8),
            "label": names[number % 3],
        }
        for number in range(5)
    ]
    processor = MicronBertImageProcessor(size={"height": 16, "width": 16})
    predicted = predict(model, FramePairs(rows, processor, config.label2id), batch_size=2, progress=False)
    assert model.training
    model.eval()
    assert predicted.sample_ids == tuple(row["sample_id"] for row in rows)
    assert predicted.labels.tolist() == [0, 1, 2, 0, 1]
    for row, scores in zip(rows, predicted.scores):
        pixel_values = processor([(row["onset"], row["apex"])], return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            expected = model(pixel_values=pixel_values).logits.softmax(-1)[0]
        torch.testing.assert_close(torch.from_numpy(scores), expected)
    with pytest.raises(ValueError, match="labelled"):
        predict(model, FramePairs(rows, processor))
