"""The prediction table: identity travels with the row, each sample exactly once, order does not matter."""

import numpy as np
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
