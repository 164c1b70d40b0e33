"""4DME, from the official release to one schema.

    python dataset_scripts/fourdme.py RAW_FOLDER OUT [--align] [--frames pair|clip] [--jobs N]

RAW_FOLDER holds gray_micro and 4DME_Labelling_Micro_release*.xlsx;
sheets are looked for two levels deep, frames four.
All options: --help.
"""

from micron_bert_hf.cli import run_converter


if __name__ == "__main__":
    run_converter("fourdme")
