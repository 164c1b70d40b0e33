"""CAS(ME)^3, --part a (labelled), b (unlabelled, for pretraining) or c, from the official release to one schema.

    python dataset_scripts/casme3.py RAW_FOLDER OUT [--align] [--frames pair|clip] [--jobs N]

RAW_FOLDER holds part_A, part_B or part_C and the label sheet of the part;
sheets are looked for two levels deep, frames four.
All options: --help.
"""

from micron_bert_hf.cli import run_converter


if __name__ == "__main__":
    run_converter("casme3")
