"""Train a Micron-BERT classifier on labelled pairs, or evaluate it on people it has not seen.

    python examples/run_classification.py RECIPE.yaml --dataset FACES --output_dir OUT
    python examples/run_classification.py RECIPE.yaml --dataset FACES --output_dir OUT --push_to_hub USER/NAME
    python examples/run_classification.py RECIPE.yaml --dataset FACES --output_dir OUT --protocol loso
    torchrun --nproc_per_node 8 examples/run_classification.py RECIPE.yaml --dataset FACES --output_dir OUT

Without a protocol one classifier learns from all people of the set and is left in OUT/model; nothing says how good it
is on others. With `--push_to_hub` it is then published, as `micron-bert publish` does. With a protocol, every fold is
trained on some people and answers for others, and OUT/results.json has the scores. The same command goes on where it
was. `--help` lists every option; each overrules the recipe.
"""

import sys


def main() -> int:
    from micron_bert_hf.evaluation import FoldsFailed
    from micron_bert_hf.experiments import evaluate_recipe
    from micron_bert_hf.training import read_classification_recipe, train_classifier

    try:
        recipe = read_classification_recipe(sys.argv[1:])
        if recipe.run.protocol is not None:
            evaluate_recipe(recipe)
        else:
            recipe.hub.check()
            folder = train_classifier(recipe)
            print(f"The classifier is in {folder}")
            recipe.hub.publish(folder)
    except (OSError, ValueError, FloatingPointError, FoldsFailed) as error:
        print(f"run_classification.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
