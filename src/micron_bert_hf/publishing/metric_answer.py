"""A user's process: run as a script, it loads a module of `evaluate` from the Hub and computes.

Request and answer as of `isolation.ask`.
"""

import json
import sys
from pathlib import Path


def main() -> None:
    request = json.load(sys.stdin)
    sys.path += [path for path in request["path"] if path not in sys.path]

    import evaluate

    module = evaluate.load(request["model"], revision=request["revision"], keep_in_memory=True)
    found = module.compute(**request["columns"])
    Path(request["out"]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
