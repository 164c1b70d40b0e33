"""Models and metrics to the Hub: complete, described, and tried by somebody who has nothing but the folder.

    publish_model("demo_output/model", "user/name", results="results")
    publish_space("demo_output/model", "user/name")
    publish_metric("uf1", "user/uf1")

Before a byte is sent the folder answers for a pair of frames in a process where this package cannot be imported, and
its answer must be that of the package; everything goes in one commit; then the same is asked of the Hub.
"""

from .metric import publish_metric
from .model import Publication, publish_model
from .push import PublishedButWrongError
from .space import SpacePublication, publish_space


__all__ = [
    "Publication",
    "PublishedButWrongError",
    "SpacePublication",
    "publish_metric",
    "publish_model",
    "publish_space",
]
