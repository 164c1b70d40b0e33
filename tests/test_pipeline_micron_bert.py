"""The pipeline against model and processor called by hand."""

import json

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import pipeline

from micron_bert_hf import (
    MicroExpressionClassificationPipeline,
    MicronBertForMicroExpressionClassification,
    MicronBertImageProcessor,
    MicronBertModel,
)


LABELS = {0: "negative", 1: "positive", 2: "surprise"}


@pytest.fixture
def processor():
    """A grid of 3 x 5 patches, neither square nor that of the config."""
    return MicronBertImageProcessor(size={"height": 24, "width": 40})


@pytest.fixture
def make_pipeline(tiny_config, processor):
    def make(**config):
        torch.manual_seed(0)
        tiny_config.id2label = dict(LABELS)
        for name, value in config.items():
            setattr(tiny_config, name, value)
        model = MicronBertForMicroExpressionClassification(tiny_config).eval()
        # the classes of a fresh model differ little, and not in the order of their numbers
        model.classifier.bias.data.copy_(torch.tensor([0.1, -0.3, 0.6]))
        return pipeline("micro-expression-classification", model=model, image_processor=processor, device="cpu")

    return make


@pytest.fixture
def classify(make_pipeline):
    return make_pipeline()


@torch.no_grad()
def outputs_by_hand(classify, pair):
    return classify.model(**classify.image_processor(pair, return_tensors="pt"))


def assert_same(results, expected, atol=1e-6):
    assert len(results) == len(expected)
    for result, right in zip(results, expected):
        assert [entry["label"] for entry in result] == [entry["label"] for entry in right]
        np.testing.assert_allclose(
            [entry["score"] for entry in result], [entry["score"] for entry in right], rtol=0, atol=atol
        )


def test_registered(classify):
    assert type(classify) is MicroExpressionClassificationPipeline


def test_softmax_scores_best_first(classify, frame_pair):
    result = classify(frame_pair)
    logits = outputs_by_hand(classify, frame_pair).logits[0].double().numpy()
    scores = np.exp(logits) / np.exp(logits).sum()
    order = sorted(range(3), key=lambda label: -scores[label])
    assert_same([result], [[{"label": LABELS[label], "score": scores[label]} for label in order]])
    assert order != [0, 1, 2]  # a negative control: not the order of the labels
    assert sum(entry["score"] for entry in result) == pytest.approx(1)
    assert json.loads(json.dumps(result)) == result  # plain Python


def test_sigmoid_scores_of_several_labels(make_pipeline, frame_pair):
    classify = make_pipeline(problem_type="multi_label_classification")
    logits = outputs_by_hand(classify, frame_pair).logits[0].double().numpy()
    scores = {entry["label"]: entry["score"] for entry in classify(frame_pair)}
    np.testing.assert_allclose([scores[LABELS[i]] for i in range(3)], 1 / (1 + np.exp(-logits)), rtol=0, atol=1e-6)
    assert sum(scores.values()) > 1.1


@pytest.mark.parametrize(("top_k", "count"), [(None, 3), (1, 1), (2, 2), (3, 3), (99, 3)])
def test_top_k(classify, frame_pair, top_k, count):
    assert classify(frame_pair, top_k=top_k) == classify(frame_pair)[:count]


def test_top_k_at_construction(classify, processor, frame_pair):
    one = pipeline(
        "micro-expression-classification", model=classify.model, image_processor=processor, device="cpu", top_k=1
    )
    assert one(frame_pair) == classify(frame_pair)[:1]
    assert one(frame_pair, top_k=2) == classify(frame_pair)[:2]


@pytest.mark.parametrize("top_k", [0, -1, 1.5, True, "all"])
def test_bad_top_k(classify, frame_pair, top_k):
    with pytest.raises(ValueError, match="`top_k` must be an integer of at least 1, got"):
        classify(frame_pair, top_k=top_k)


def test_equal_scores_keep_the_order_of_the_labels(classify, frame_pair):
    classify.model.classifier.weight.data.zero_()
    classify.model.classifier.bias.data.zero_()
    assert [entry["label"] for entry in classify(frame_pair)] == list(LABELS.values())


def test_maps(classify, frame_pair):
    result = classify(frame_pair, return_maps=True, top_k=2)
    outputs = outputs_by_hand(classify, frame_pair)
    assert list(result) == ["predictions", "diagonal_attention", "patch_of_interest"]
    assert result["predictions"] == classify(frame_pair, top_k=2)
    for name, values in (
        ("diagonal_attention", outputs.diagonal_attention[0, 0]),
        ("patch_of_interest", outputs.patch_of_interest[0]),
    ):
        assert isinstance(result[name], np.ndarray) and result[name].dtype == np.float32
        assert result[name].shape == (3, 5)
        for row in range(3):
            for column in range(5):
                assert result[name][row, column] == values[row * 5 + column]


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_list_is_a_batch_in_order(classify, frame_pairs, batch_size):
    mixed = [
        frame_pairs[0],
        {"onset": frame_pairs[1][0], "apex": frame_pairs[1][1]},
        [Image.fromarray(frame) for frame in frame_pairs[2]],
        np.stack(frame_pairs[3]),
        tuple(torch.from_numpy(frame[:30, :30]) for frame in frame_pairs[4]),  # another size
    ]
    one_by_one = [classify(pair) for pair in frame_pairs[:4]] + [classify(mixed[4])]
    results = classify(mixed, batch_size=batch_size)
    assert isinstance(results, list)
    assert_same(results, one_by_one)
    assert len({result[0]["score"] for result in results}) == 5  # the pairs can be told apart at all

    maps = classify(mixed, batch_size=batch_size, return_maps=True)
    for result, pair in zip(maps, [*frame_pairs[:4], mixed[4]]):
        alone = classify(pair, return_maps=True)
        for name in ("diagonal_attention", "patch_of_interest"):
            np.testing.assert_allclose(result[name], alone[name], rtol=0, atol=1e-6)


def test_a_list_of_one_pair_gives_a_list(classify, frame_pair):
    assert classify([frame_pair]) == [classify(frame_pair)]


def test_arrays(classify, frame_pairs):
    array = np.stack([np.stack(pair) for pair in frame_pairs])
    expected = [classify(pair) for pair in frame_pairs]
    assert classify(array) == expected
    assert classify(torch.from_numpy(array)) == expected
    assert classify(array[2]) == expected[2]


def test_generator_is_consumed_as_needed(classify, frame_pairs):
    taken = []

    def stream():
        for index, pair in enumerate(frame_pairs):
            taken.append(index)
            yield pair

    results = iter(classify(stream()))
    first = next(results)
    assert len(taken) < 5
    assert [first, *results] == [classify(pair) for pair in frame_pairs]


def test_datasets(classify, frame_pairs):
    expected = [classify(pair) for pair in frame_pairs]
    rows = [
        {"sample_id": str(i), "onset": Image.fromarray(onset), "apex": Image.fromarray(apex), "label": 0}
        for i, (onset, apex) in enumerate(frame_pairs)
    ]
    features = datasets.Features(
        sample_id=datasets.Value("string"), onset=datasets.Image(), apex=datasets.Image(), label=datasets.Value("int8")
    )
    dataset = datasets.Dataset.from_list(rows, features=features)
    assert list(classify(dataset)) == expected
    assert_same(list(classify(dataset, batch_size=2)), expected)
    assert list(classify(dataset.to_iterable_dataset())) == expected

    class TorchDataset(torch.utils.data.Dataset):
        def __len__(self):
            return len(rows)

        def __getitem__(self, index):
            return rows[index]

    assert list(classify(TorchDataset())) == expected


def test_files(classify, frame_pair, tmp_path):
    for name, frame in zip(("onset.png", "apex.png"), frame_pair):
        Image.fromarray(frame).save(tmp_path / name)
    pair = {"onset": str(tmp_path / "onset.png"), "apex": tmp_path / "apex.png"}
    assert classify(pair) == classify(frame_pair)


def test_bfloat16(classify, frame_pair):
    expected = classify(frame_pair)
    classify.model.to(torch.bfloat16)
    result = classify(frame_pair, return_maps=True)
    # weak: "change" pooling weighs differences of log diagonals, which bfloat16 rounds at a few hundredths
    assert_same([result["predictions"]], [expected], atol=0.1)
    assert result["patch_of_interest"].dtype == np.float32


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "empty list"),
        ((), "empty tuple"),
        (Image.new("RGB", (8, 8)), "one Image"),
        (np.zeros((8, 8, 3), np.uint8), r"array of shape \(8, 8, 3\)"),
        ({"onset": Image.new("RGB", (8, 8))}, r"lacks \['apex'\]"),
        ([Image.new("RGB", (8, 8))] * 2, "one Image"),
        ((np.zeros((8, 8, 3), np.uint8),) * 3, "3 frames"),
        ((np.zeros((8, 8, 3)), np.full((8, 8, 3), np.nan)), "apex: has NaN"),
    ],
)
def test_bad_input(classify, inputs, message):
    with pytest.raises(ValueError, match=message):
        classify(inputs)


def test_without_an_image_processor(classify):
    with pytest.raises(ValueError, match="needs an `image_processor`"):
        MicroExpressionClassificationPipeline(model=classify.model, device="cpu")


def test_a_model_without_classes(tiny_config, processor):
    with pytest.raises(ValueError, match="MicronBertModel has no classifier"):
        MicroExpressionClassificationPipeline(
            model=MicronBertModel(tiny_config), image_processor=processor, device="cpu"
        )
