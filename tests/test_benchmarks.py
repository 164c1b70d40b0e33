"""The benchmark measures the same computation twice, and the documents say what its results say."""

import json
import re
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import measure, render
from benchmarks.plain_reference import PlainMicronBert
from micron_bert_hf import MicronBertConfig, MicronBertForPreTraining


ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def case():
    torch.manual_seed(0)
    case = measure.Case.__new__(measure.Case)
    case.config = MicronBertConfig(
        image_size=32,
        hidden_size=32,
        num_hidden_layers=2,
        intermediate_size=64,
        decoder_hidden_size=24,
        decoder_num_hidden_layers=2,
        decoder_intermediate_size=48,
    )
    case.ours = MicronBertForPreTraining(case.config)
    case.plain = PlainMicronBert(case.ours)
    case.pixel_values, case.crop = torch.randn(2, 2, 3, 32, 32), torch.randn(2, 3, 32, 32)
    case.mask = torch.rand(2, 16) < 0.5
    return case


def test_reference_computes_the_same_features_and_loss(case):
    assert_close(case.infer_ours(), case.infer_plain())
    assert_close(case.train_ours(), case.train_plain())


def test_reference_has_the_same_gradients(case):
    case.train_ours()
    case.train_plain()
    layer, block = case.ours.micron_bert.layers[0], case.plain.blocks[0]
    ours, plain = layer.attention, block.attention
    qkv = torch.cat([projection.weight.grad for projection in (ours.q_proj, ours.k_proj, ours.v_proj)])
    assert_close(qkv, plain.qkv.weight.grad, atol=1e-6, rtol=1e-4)
    assert_close(layer.mlp.fc2.weight.grad, block.mlp[2].weight.grad, atol=1e-6, rtol=1e-4)
    cross = case.ours.micron_bert.diagonal_micro_attention
    assert_close(cross.q_proj.weight.grad, case.plain.parts["to_q"].weight.grad, atol=1e-6, rtol=1e-4)
    assert_close(cross.k_proj.weight.grad, case.plain.parts["to_k"].weight.grad, atol=1e-6, rtol=1e-4)


def test_useful_flops_agree_with_torchs_counter(case):
    """torch counts the matrix products of the plain forward passes; ours is the same but for a crop's last layer."""
    with FlopCounterMode(display=False) as counter:
        case.infer_plain()
    gate = 2 * 2 * 16 * 32  # the product with the contextual token, which ours counts as free
    assert measure.useful_flops(case.config, 2, train=False) + gate == counter.get_total_flops()


def test_memory_is_measured_in_a_fresh_process():
    row = measure.in_fresh_process("measure_diagonal", "plain", 2048)
    scores = 4 * 2048**2
    assert scores < row["peak_extra_bytes"] < 20 * scores


def test_rendering_needs_exactly_one_place(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- bench -->\nold\n<!-- /bench -->\nb\n")
    render.render_into(page, "bench", "new")
    assert page.read_text() == "a\n<!-- bench -->\nnew\n<!-- /bench -->\nb\n"
    with pytest.raises(ValueError, match="exactly one"):
        render.render_into(page, "demo", "new")


DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_documents_say_what_the_results_say():
    """
    Rendering the stored results changes nothing: no number was typed by hand. Whoever changes the command line renders
    it anew by `python -m benchmarks --render-only`.
    """
    sections = render.sections()
    assert sections.keys() == render.PLACES.keys()
    for name, text in sections.items():
        for place in render.PLACES[name]:
            document = (ROOT / place).read_text(encoding="utf-8")
            assert f"<!-- {name} -->\n{text}\n<!-- /{name} -->" in document, f"{name} in {place}"


def test_every_place_is_rendered():
    """A section that was renamed, or copied to another page, would stay as it is for ever."""
    found = {
        (name, path.relative_to(ROOT).as_posix())
        for path in DOCUMENTS
        for name in re.findall(r"<!-- /([\w-]+) -->", path.read_text(encoding="utf-8"))
    }
    assert found == {(name, place) for name, places in render.PLACES.items() for place in places}


def test_the_recipe_says_what_its_results_say():
    results = json.loads((render.RESULTS / "linear_probe.json").read_text())
    header = (ROOT / "examples" / "recipes" / "tiny_cpu.yaml").read_text()
    assert f"{results['pretrained']['uf1']:.3f}" in header and f"Time: {results['seconds'] / 60:.1f} minutes" in header
    assert all(f"{row['uf1']:.3f}" in header for row in results["random"]) and not results["transductive"]
    assert min(results["pretrained"]["uf1"] - row["uf1"] for row in results["random"]) > 0.05


@pytest.mark.parametrize(
    ("recipe", "result"),
    [("windowed_cpu", "micron-bert-windowed-mer-synth-v1"), ("paper_cpu", "micron-bert-paper-mer-synth-v1")],
)
def test_classification_recipes_say_what_their_results_say(recipe, result):
    results = json.loads((render.EVALUATIONS / f"{result}.json").read_text())
    header = (ROOT / "examples" / "recipes" / "classification" / f"{recipe}.yaml").read_text()
    assert f"UF1 {results['uf1']:.3f}" in header and f"Time: {results['seconds'] / 60:.0f} minutes" in header
    assert results["transductive"] is False and len(results["seeds"]) == 3 and results["protocol"] == "group_kfold:5"


def test_our_configuration_beats_flow_and_an_svm():
    """The learning goal, held to the stored results: UF1 on the same folds, compared person by person."""
    ours = json.loads((render.EVALUATIONS / "micron-bert-windowed-mer-synth-v1.json").read_text())
    flow = json.loads((render.EVALUATIONS / "dis-flow-svm-mer-synth-v1.json").read_text())
    assert ours["comparison"]["with"] == flow["method"] and ours["data_fingerprint"] == flow["data_fingerprint"]
    assert ours["uf1"] - flow["uf1"] == pytest.approx(ours["comparison"]["uf1_difference"])
    assert ours["uf1"] > flow["uf1"] and ours["comparison"]["p_value"] < 0.05
