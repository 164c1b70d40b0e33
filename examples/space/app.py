"""Micro-expressions in two pictures or a short video: a page over one Micron-BERT classifier.

`micron-bert publish FOLDER USER/NAME --space` writes this file into a Space with the model and its commit in place.
On a machine of your own: pip install -r requirements.txt, then python app.py.
"""

from micron_bert_hf.web import serve


# The model that answers. A commit instead of a branch, so that the page stays what was tried.
MODEL, REVISION = "USER/NAME", "main"


if __name__ == "__main__":
    serve(MODEL, revision=REVISION)
