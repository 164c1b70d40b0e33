"""The "micro-expression-classification" pipeline: two frames or a video in, labels with scores out."""

import collections.abc
import importlib.metadata
import os
import types
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import Pipeline


# The entry point by which an installed package says that it reads videos: this file cannot import it.
VIDEO_READERS = "micron_bert_hf.videos"
HOW_TO_READ_VIDEOS = (
    "install micron_bert_hf from its source, with the extra `spotting`. A frame pair does not need it."
)


def is_video(inputs: Any) -> bool:
    """A path, a dict with `"video"`, or an array of frames that are not two."""
    if isinstance(inputs, collections.abc.Mapping):
        return "video" in inputs
    is_array = isinstance(inputs, np.ndarray) and inputs.ndim == 4 and inputs.shape[0] != 2
    return is_array or isinstance(inputs, (str, os.PathLike))


class MicroExpressionClassificationPipeline(Pipeline):
    """
    Micro-expressions of frame pairs and of videos.

    ```python
    >>> classify = pipeline("micro-expression-classification", model=folder, trust_remote_code=True)
    >>> classify({"onset": "onset.png", "apex": "apex.png"}, top_k=1)
    [{'label': 'surprise', 'score': 0.71}]
    >>> classify("interview.mp4")
    [{'onset': {'frame': 61, 'seconds': 1.22}, 'apex': ..., 'offset': ..., 'label': 'surprise', 'score': 0.71, ...}]
    ```

    A single pair is a dict with `"onset"` and `"apex"` or a tuple `(onset, apex)`; a frame is whatever the image
    processor takes (path, URL, PIL image, array). A video is the path of a video file or of a folder of frames, an
    array `(T, H, W, 3)` of uint8 of more or fewer than two frames, or a dict `{"video": one of these or a list of
    frames, "fps": frames a second}`. A LIST is always a batch, as in every pipeline.
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
        self._recognizers: dict[str, Any] = {}

    def __call__(
        self, inputs: Any, *, fps: float | None = None, by: str = "flow", progress: bool = False, **kwargs: Any
    ) -> Any:
        """
        Args:
            inputs: one pair, which gives one result; a list of pairs or an array `(B, 2, ...)`, which gives a list of
                results in order; or a dataset or generator of pairs, which gives an iterator of results. Or one video,
                or a list of videos. Videos need the installed package with what reads them; their face is found and
                aligned first, pairs are taken as they are.
            top_k (`int`, *optional*): the best so many labels; all when `None` or when there are fewer.
            return_maps (`bool`, defaults to `False`): also the two maps over the patches.
            batch_size (`int`, *optional*): pairs per forward pass, 1 by default.
            fps (`float`, *optional*): of a video that does not say it itself: frames a second.
            by (`"flow"` or `"attention"`): of a video: what movement is measured by.
            progress (`bool`): of a video: show a progress bar.

        Returns:
            For each video a list in the order of time, empty if nothing moved, of dicts: `"onset"`, `"apex"` and
            `"offset"`, each `{"frame": int, "seconds": float}`; `"change"`, how far the face moved; `"label"`,
            `"score"` and `"scores"`, a dict, best first; with `return_maps` `"maps"`, a dict of the two arrays below.
            For each pair `[{"label": str, "score": float}, ...]`, best first: softmax scores, which sum to 1 over all
            labels, or sigmoid scores, each by itself, when the model is `problem_type="multi_label_classification"`.
            With `return_maps` a dict instead: `"predictions"`, that list; `"diagonal_attention"` and
            `"patch_of_interest"`, `np.ndarray` of shape `(rows, columns)`, float32. The diagonal attention is SMALL
            where a patch changed.

        Raises:
            ValueError: not a pair, an empty list, an image that cannot be read, `top_k` below 1; a video that cannot
                be read, or the package that reads videos is not installed.
            FileNotFoundError: there is no video at the path.
        """
        if is_video(inputs):
            return self._recognize(inputs, fps, by, progress, **kwargs)
        if isinstance(inputs, list) and inputs and all(map(is_video, inputs)):
            return [self._recognize(video, fps, by, progress, **kwargs) for video in inputs]
        arrays = (np.ndarray, torch.Tensor)
        if isinstance(inputs, arrays) and inputs.ndim == 5:
            inputs = list(inputs)
        if isinstance(inputs, (list, tuple)) and not inputs:
            raise ValueError(f"Expected a frame pair or a list of pairs, got an empty {type(inputs).__name__}.")
        one_input = (collections.abc.Mapping, tuple, Image.Image, *arrays)
        known_stream = (list, types.GeneratorType, torch.utils.data.Dataset)
        if not isinstance(inputs, (*one_input, *known_stream)) and isinstance(inputs, collections.abc.Iterable):
            # the base class would take a `datasets.Dataset` or an iterator for one input
            inputs = (pair for pair in inputs)
        return super().__call__(inputs, **kwargs)

    def _recognize(
        self, video: Any, fps: float | None, by: str, progress: bool, **kwargs: Any
    ) -> list[dict[str, Any]]:
        # one expression after the other, whatever is asked of pairs
        of_pairs = ("batch_size", "num_workers")
        _, _, asked = self._sanitize_parameters(**{key: value for key, value in kwargs.items() if key not in of_pairs})
        chosen = {**self._postprocess_params, **asked}
        if isinstance(video, collections.abc.Mapping):
            of_video = video.get("fps")
            video, fps = video["video"], fps if of_video is None else of_video
        answers = []
        for found in self._recognizer(by)(video, fps, progress):
            answer = found.as_json()
            answer["scores"] = dict(list(found.scores.items())[: chosen.get("top_k")])
            answers.append({**answer, "maps": dict(found.maps)} if chosen.get("return_maps") else answer)
        return answers

    def _recognizer(self, by: str) -> Any:
        if by not in self._recognizers:
            try:
                readers = [reader.load() for reader in importlib.metadata.entry_points(group=VIDEO_READERS)]
            except ImportError as error:
                raise ValueError(f"Videos cannot be read, {error}: {HOW_TO_READ_VIDEOS}") from error
            if not readers:
                raise ValueError(f"Videos are read by the installed package: {HOW_TO_READ_VIDEOS}")
            self._recognizers[by] = readers[0](self, by=by)
        return self._recognizers[by]

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
