"""CASME II, from the official release to one schema.

    python dataset_scripts/casme2.py RAW_FOLDER OUT [--align] [--frames pair|clip] [--jobs N]

RAW_FOLDER holds CASME2_RAW_selected, CASME2-RAW or Cropped, and CASME2-coding-*.xlsx;
sheets are looked for two levels deep, frames four.
All options: --help.
"""

from micron_bert_hf.cli import run_converter


if __name__ == "__main__":
    run_converter("casme2")
