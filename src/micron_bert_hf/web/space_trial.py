"""A Space's process, in small: run as a script, it makes the page from the files of a folder and answers a pair.

Request and answer as of `publishing.isolation.ask`.
"""

import json
import runpy
import sys
from pathlib import Path


def main() -> None:
    request = json.load(sys.stdin)
    sys.dont_write_bytecode = True  # the folder is sent as it is
    # the folder first: a package of the same name that is installed elsewhere does not count
    sys.path[:] = [request["space"], *(path for path in sys.path + request["path"] if path != request["space"])]

    app = runpy.run_path(str(Path(request["space"]) / "app.py"))

    from micron_bert_hf.spotting import MicroExpressionRecognizer
    from micron_bert_hf.spotting.commands import load_classifier
    from micron_bert_hf.web import answers, page

    recognize = MicroExpressionRecognizer(load_classifier(request["model"]))
    page.build_page(recognize, app["MODEL"], "")
    answer = answers.pair_answer(recognize, *map(Path, page.EXAMPLE_PAIRS[0]))
    Path(request["out"]).write_text(json.dumps({"module": page.__file__, "answer": answer}), encoding="utf-8")


if __name__ == "__main__":
    main()
