"""SAMM, from the official release to one schema.

    python dataset_scripts/samm.py RAW_FOLDER OUT [--align] [--frames pair|clip] [--jobs N]

RAW_FOLDER holds SAMM and SAMM_Micro_FACS_Codes_v2.xlsx;
sheets are looked for two levels deep, frames four.
All options: --help.
"""

from micron_bert_hf.cli import run_converter


if __name__ == "__main__":
    run_converter("samm")
