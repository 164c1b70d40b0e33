"""MMEW, from the official release to one schema.

    python dataset_scripts/mmew.py RAW_FOLDER OUT [--align] [--frames pair|clip] [--jobs N]

RAW_FOLDER holds the folders of the emotions or subjects, and MMEW_Micro_Exp.xlsx;
sheets are looked for two levels deep, frames four.
All options: --help.
"""

from micron_bert_hf.cli import run_converter


if __name__ == "__main__":
    run_converter("mmew")
