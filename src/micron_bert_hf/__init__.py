"""Micron-BERT for facial micro-expression recognition. Importing the package registers it with transformers."""

from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForPreTraining,
    AutoModelForVideoClassification,
)
from transformers.pipelines import PIPELINE_REGISTRY

from .configuration_micron_bert import MicronBertConfig
from .image_processing_micron_bert import MicronBertImageProcessor
from .metrics import metric_path
from .modeling_micron_bert import (
    MicronBertForMicroExpressionClassification,
    MicronBertForPreTraining,
    MicronBertModel,
)
from .pipeline_micron_bert import MicroExpressionClassificationPipeline


__version__ = "0.1.0"

TASK = "micro-expression-classification"


def _register() -> None:
    """Make the auto classes and `pipeline()` know the package; a second time changes nothing."""
    AutoConfig.register(MicronBertConfig.model_type, MicronBertConfig, exist_ok=True)
    AutoModel.register(MicronBertConfig, MicronBertModel, exist_ok=True)
    AutoModelForPreTraining.register(MicronBertConfig, MicronBertForPreTraining, exist_ok=True)
    # a pair is a video of two frames: the classifier takes (B, T, C, H, W)
    AutoModelForVideoClassification.register(
        MicronBertConfig, MicronBertForMicroExpressionClassification, exist_ok=True
    )
    AutoImageProcessor.register(
        MicronBertConfig, image_processor_classes={"pil": MicronBertImageProcessor}, exist_ok=True
    )
    registered = PIPELINE_REGISTRY.supported_tasks.get(TASK)
    if registered is None or registered["impl"] is not MicroExpressionClassificationPipeline:
        PIPELINE_REGISTRY.register_pipeline(
            TASK,
            pipeline_class=MicroExpressionClassificationPipeline,
            pt_model=AutoModelForVideoClassification,
            type="video",
        )


_register()

__all__ = [
    "MicroExpressionClassificationPipeline",
    "MicronBertConfig",
    "MicronBertForMicroExpressionClassification",
    "MicronBertForPreTraining",
    "MicronBertImageProcessor",
    "MicronBertModel",
    "metric_path",
]
