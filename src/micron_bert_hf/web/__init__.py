"""A web page over one classifier: two pictures or a short video in, the answer, its maps and its limits out.

    from micron_bert_hf.web import serve

    serve("demo_output/model")

`examples/space` is the same page as a Space of the Hub. Nothing that a visitor sends is kept; see `docs/web.md`.
"""

from .server import serve


__all__ = ["serve"]
