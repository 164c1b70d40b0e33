"""Pretrain Micron-BERT on unlabelled clips.

    python examples/run_pretraining.py examples/recipes/tiny_cpu.yaml --output_dir OUT
    torchrun --nproc_per_node 8 examples/run_pretraining.py examples/recipes/paper_8gpu.yaml --output_dir OUT
    accelerate launch examples/run_pretraining.py examples/recipes/small_1gpu.yaml --output_dir OUT --dataset CLIPS

The same command goes on from the last good checkpoint in OUT. SIGTERM saves one and exits 0 (torchrun, which stands in
between, reports it as a failure all the same). `--help` lists every option; each overrules the recipe. In the end OUT
holds the model for `from_pretrained`; with `--push_to_hub USER/NAME` it is also published, as `micron-bert publish`
does.
"""

import signal
import sys


def main() -> int:
    from micron_bert_hf.training import pretrain, read_recipe

    try:
        recipe = read_recipe(sys.argv[1:])
        if recipe.run.output_dir is None:
            raise ValueError("--output_dir is missing: nothing would be kept")
        recipe.hub.check()
        clips = recipe.find_clips()
        result = pretrain(recipe.make_model(), recipe.make_image_processor(), clips, recipe.arguments, recipe.run)
        if result.stopped_by is None:
            recipe.hub.publish(recipe.run.output_dir)
    except (OSError, ValueError, FloatingPointError) as error:
        print(f"run_pretraining.py: {error}", file=sys.stderr)
        return 1
    if result.stopped_by is not None:
        print("Stopped as asked; the same command goes on from here.", flush=True)
        return 0 if result.stopped_by == signal.SIGTERM else 128 + result.stopped_by
    return 0


if __name__ == "__main__":
    # until the first step there is nothing to save, and the imports below take seconds
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    sys.exit(main())
