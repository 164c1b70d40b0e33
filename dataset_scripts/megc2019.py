"""The composite of MEGC2019, from converted CASME II, SAMM and SMIC-HS: 442 clips of 68 people, or an error.

python dataset_scripts/megc2019.py CASME2_SET SAMM_SET SMIC_SET OUT
"""

from micron_bert_hf.cli import run_converter


if __name__ == "__main__":
    run_converter("megc2019")
