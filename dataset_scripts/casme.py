"""CASME, from the official release to one schema.

    python dataset_scripts/casme.py RAW_FOLDER OUT [--align] [--frames pair|clip] [--jobs N]

RAW_FOLDER holds CASME_raw_selected (or Cropped) and the label sheet;
sheets are looked for two levels deep, frames four.
All options: --help.
"""

from micron_bert_hf.cli import run_converter


if __name__ == "__main__":
    run_converter("casme")
