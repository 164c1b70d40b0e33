"""Ask a pretrained encoder, and random weights of the same architecture, where faces moved.

    micron-bert synthesize faces --preset mer-synth-v1-easy --jobs 2 --no-baselines
    python examples/run_linear_probe.py OUT faces

A linear classifier on the encoder's diagonal attention, in folds that share no person; pooled UF1. Results go to
OUT/linear_probe.json, with those of every seed of the random weights, and whether the encoder has seen these people.
"""

import argparse
import json
from pathlib import Path

import torch

from micron_bert_hf import MicronBertForPreTraining, MicronBertImageProcessor
from micron_bert_hf.data import FramePairs
from micron_bert_hf.evaluation import attention_drop_features, linear_probe
from micron_bert_hf.synthetic.dataset_writer import iterate_samples
from micron_bert_hf.training import read_provenance


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder of a pretrained model")
    parser.add_argument("dataset", type=Path, help="folder of a labelled synthetic set")
    parser.add_argument("--random_seeds", type=int, default=3, help="how many random models to compare with")
    options = parser.parse_args()

    model = MicronBertForPreTraining.from_pretrained(options.model)
    processor = MicronBertImageProcessor.from_pretrained(options.model)
    samples = list(iterate_samples(options.dataset))
    names = sorted({sample["label"] for sample in samples})
    pairs = FramePairs(samples, processor, {name: number for number, name in enumerate(names)})

    def probe(encoder: MicronBertForPreTraining) -> dict[str, float]:
        scores = linear_probe(attention_drop_features(encoder.micron_bert, pairs), pairs, names).score()
        return {name: scores[name] for name in ("uf1", "uar", "accuracy")}

    name = json.loads((options.dataset / "parameters.json").read_text())["parameters"]["name"]
    seen = read_provenance(options.model)
    is_seen = bool(set(seen.subjects.get(name, ())) & set(pairs.subject_ids))
    results = {
        "dataset": name,
        "num_pairs": len(pairs),
        "subjects": len(set(pairs.subject_ids)),
        # people that are tested on were pretrained on: the number is no number about new people; None: not known
        "transductive": True if is_seen else False if seen.is_complete else None,
    }
    results["pretrained"] = probe(model)
    results["random"] = []
    for seed in range(options.random_seeds):
        torch.manual_seed(seed)
        results["random"].append({"seed": seed, **probe(MicronBertForPreTraining(model.config))})
    (options.model / "linear_probe.json").write_text(json.dumps(results, indent=2) + "\n")
    if results["transductive"]:
        print("TRANSDUCTIVE: the encoder was pretrained on people of this set")
    print(f"pretrained: UF1 {results['pretrained']['uf1']:.3f}")
    for random in results["random"]:
        print(f"random weights, seed {random['seed']}: UF1 {random['uf1']:.3f}")


if __name__ == "__main__":
    main()
