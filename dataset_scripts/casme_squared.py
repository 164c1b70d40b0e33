"""CAS(ME)^2, from the official release to one schema.

    python dataset_scripts/casme_squared.py RAW_FOLDER OUT [--align] [--frames pair|clip] [--jobs N]

RAW_FOLDER holds rawpic and CAS(ME)^2code_final.xlsx;
sheets are looked for two levels deep, frames four.
All options: --help.
"""

from micron_bert_hf.cli import run_converter


if __name__ == "__main__":
    run_converter("casme_squared")
