"""SMIC, --part hs, vis, nir (short clips) or hs-e, vis-e, nir-e (extended), from the official release to one schema.

    python dataset_scripts/smic.py RAW_FOLDER OUT [--align] [--frames pair|clip] [--jobs N]

RAW_FOLDER holds SMIC_all_raw, or the extended release with its sheet;
sheets are looked for two levels deep, frames four.
All options: --help.
"""

from micron_bert_hf.cli import run_converter


if __name__ == "__main__":
    run_converter("smic")
