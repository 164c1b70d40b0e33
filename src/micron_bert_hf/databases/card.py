"""The dataset card of a converted set: its terms, what was read, what was counted, its columns."""

from collections.abc import Mapping
from typing import Any

from huggingface_hub import DatasetCardData

from .report import expected_rows
from .rows import COLUMNS


def render_card(description: Mapping[str, Any], num_bytes: int) -> str:
    """
    Text of `README.md`; its metadata name every shard, so that `load_dataset` refuses a folder that lacks one.

    Args:
        description: content of `conversion.json`.
        num_bytes (`int`): of the shards.
    """
    data = DatasetCardData(
        license="other",
        license_name=description["terms"]["name"],
        license_link=description["terms"]["url"],
        pretty_name=f"{description['title']}, converted",
        task_categories=["video-classification"] if description["kind"] == "labelled" else ["other"],
        tags=["micro-expression", "facial-expression"],
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": list(description["shards"])}]}],
        dataset_info={
            # `datasets` keeps what it has read under a hash of this block, whatever the folder and the files' times:
            # without the fingerprint a set of the same name and size would be answered from the cache of another
            "description": f"fingerprint {description['fingerprint']}",
            "splits": [{"name": "train", "num_bytes": num_bytes, "num_examples": description["num_rows"]}],
        },
    )
    terms = description["terms"]
    options = ", ".join(f"{name} {value}" for name, value in description["options"].items() if value is not None)
    columns = "\n".join(f"| `{name}` | {meaning} |" for name, meaning in COLUMNS[description["kind"]].items())
    return f"""---
{data.to_yaml()}
---

# {description["title"]}, converted by micron_bert_hf

**Terms: {terms["text"]}** The agreement: {terms["url"]}. This folder holds the database's frames and labels; whoever
has it is bound by that agreement. It must not be published.

| | |
|---|---|
| Part | {description["part"]} |
| Label sheet | {"; ".join(description["sheets"]) or "none"} |
| Frames | from `{description["frames_folder"]}` |
| Rows, frames | {description["num_rows"]}, {description["num_frames"]} |
| Options | {options} |
| Repaired or left out | {sum(description["repairs"].values())}, each with its reason in `repairs.csv` |
| Fingerprint | `{description["fingerprint"]}` |

{_counts_table(description)}

## Columns

| column | meaning |
|---|---|
{columns}
"""


def _counts_table(description: Mapping[str, Any]) -> str:
    counts, expected = description["counts"], description["expected"]
    lines = ["| | found | expected |", "|---|---|---|"]
    for name, found, wanted in expected_rows(counts, expected):
        lines.append(f"| {name} | {found} | {'not known' if wanted is None else wanted} |")
    source = f"Expected: {expected['source']}." if expected else "Nobody has counted what to expect."
    return "\n".join([*lines, "", source])
