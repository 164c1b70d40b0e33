"""The "micro-expression-classification" pipeline: an onset and an apex frame in, labels with scores out."""

import collections.abc
import os
import types
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import Pipeline


class MicroExpressionClassificationPipeline(Pipeline):
    """
    Micro-expressions of frame pairs.

    ```python
    >>> classify = pipeline("micro-expression-classification", model=folder, trust_remote_code=True)
    >>> classify({"onset": "onset.png", "apex": "apex.png"}, top_k=1)
    [{'label': 'surprise', 'score': 0.71}]
    ```

    A single pair is a dict with `"onset"` and `"apex"` or a tuple `(onset, apex)`; a frame is whatever the image
    processor takes (path, URL, PIL image, array). A LIST is always a batch, as in every pipeline.
    """

    _load_tokenizer = False
    _load_feature_extractor = False
    _load_image_processor = True
    _load_video_processor = False
    _load_processor = False

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if self.image_processor is None:
            raise ValueError("The micro-expression-classification pipeline needs an `image_processor`, got None.")
        # by name: a model from the Hub is of a class that this file cannot import
        names = [model_class.__name__ for model_class in type(self.model).__mro__]
        if "MicronBertForMicroExpressionClassification" not in names:
            raise ValueError(f"Expected a MicronBertForMicroExpressionClassification; {names[0]} has no classifier.")

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        """
        Args:
            inputs: one pair, which gives one result; a list of pairs or an array `(B, 2, ...)`, which gives a list of
                results in order; or a dataset or generator of pairs, which gives an iterator of results.
            top_k (`int`, *optional*): the best so many labels; all when `None` or when there are fewer.
            return_maps (`bool`, defaults to `False`): also the two maps over the patches.
            batch_size (`int`, *optional*): pairs per forward pass, 1 by default.

        Returns:
            For each pair `[{"label": str, "score": float}, ...]`, best first: softmax scores, which sum to 1 over all
            labels, or sigmoid scores, each by itself, when the model is `problem_type="multi_label_classification"`.
            With `return_maps` a dict instead: `"predictions"`, that list; `"diagonal_attention"` and
            `"patch_of_interest"`, `np.ndarray` of shape `(rows, columns)`, float32. The diagonal attention is SMALL
            where a patch changed.

        Raises:
            ValueError: not a pair, an empty list, an image that cannot be read, `top_k` below 1.
        """
        arrays = (np.ndarray, torch.Tensor)
        if isinstance(inputs, arrays) and inputs.ndim == 5:
            inputs = list(inputs)
        if isinstance(inputs, (list, tuple)) and not inputs:
            raise ValueError(f"Expected a frame pair or a list of pairs, got an empty {type(inputs).__name__}.")
        one_input = (collections.abc.Mapping, tuple, str, os.PathLike, Image.Image, *arrays)
        known_stream = (list, types.GeneratorType, torch.utils.data.Dataset)
        if not isinstance(inputs, (*one_input, *known_stream)) and isinstance(inputs, collections.abc.Iterable):
            # the base class would take a `datasets.Dataset` or an iterator for one input
            inputs = (pair for pair in inputs)
        return super().__call__(inputs, **kwargs)

    def _sanitize_parameters(
        self, top_k: int | None = None, return_maps: bool | None = None
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        postprocess_parameters = {}
        if top_k is not None:
            if isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1:
                raise ValueError(f"`top_k` must be an integer of at least 1, got {top_k!r}.")
            postprocess_parameters["top_k"] = top_k
        if return_maps is not None:
            postprocess_parameters["return_maps"] = return_maps
        return {}, {}, postprocess_parameters

    def preprocess(self, pair: Any) -> dict[str, torch.Tensor]:
        # a batch of one: there, a pair may also be a list, as rows of a dataset have it
        return dict(self.image_processor([pair], return_tensors="pt"))

    def _forward(self, model_inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        pixel_values = model_inputs["pixel_values"]
        patch_size = self.model.config.patch_size
        grid = pixel_values.shape[-2] // patch_size, pixel_values.shape[-1] // patch_size
        outputs = self.model(pixel_values=pixel_values)
        return {
            "logits": outputs.logits,
            "diagonal_attention": outputs.diagonal_attention[:, 0].unflatten(1, grid),
            "patch_of_interest": outputs.patch_of_interest.unflatten(1, grid),
        }

    def postprocess(
        self, model_outputs: dict[str, torch.Tensor], top_k: int | None = None, return_maps: bool = False
    ) -> list[dict[str, Any]] | dict[str, Any]:
        logits = model_outputs["logits"][0].float()
        multi_label = self.model.config.problem_type == "multi_label_classification"
        scores = logits.sigmoid() if multi_label else logits.softmax(-1)
        scores, labels = scores.sort(descending=True, stable=True)  # equal scores in the order of the labels
        id2label = self.model.config.id2label
        predictions = [
            {"label": id2label[label], "score": score}
            for label, score in zip(labels[:top_k].tolist(), scores[:top_k].tolist())
        ]
        if not return_maps:
            return predictions
        maps = {name: model_outputs[name][0].float().numpy() for name in ("diagonal_attention", "patch_of_interest")}
        return {"predictions": predictions, **maps}


__all__ = ["MicroExpressionClassificationPipeline"]
