"""Hugging Face workflows in TensorFlow and Keras 3.

Names are loaded when they are first used: importing tfhf alone imports neither TensorFlow nor
Transformers.

Example:
    >>> import tfhf
    >>> "TFBertModel" in dir(tfhf)
    True
"""

from __future__ import annotations

import importlib
from typing import Any

from tfhf.models.names import MODELS

__version__ = "0.1.0"

_MODULES: dict[str, tuple[str, ...]] = {
    "tfhf.adapters": ("LoraConfig",),
    "tfhf.auto": (
        "TFAutoModel",
        "TFAutoModelForCausalLM",
        "TFAutoModelForMaskedLM",
        "TFAutoModelForMultipleChoice",
        "TFAutoModelForNextSentencePrediction",
        "TFAutoModelForPreTraining",
        "TFAutoModelForQuestionAnswering",
        "TFAutoModelForSeq2SeqLM",
        "TFAutoModelForSequenceClassification",
        "TFAutoModelForTextEncoding",
        "TFAutoModelForTokenClassification",
    ),
    "tfhf.checkpoints.checkpoint": ("CorruptCheckpointError", "UnsafeCheckpointError"),
    "tfhf.data": (
        "DataCollatorForLanguageModeling",
        "DataCollatorForMultipleChoice",
        "DataCollatorForPermutationLanguageModeling",
        "DataCollatorForSeq2Seq",
        "DataCollatorForTokenClassification",
        "DataCollatorForWholeWordMask",
        "DataCollatorWithPadding",
        "DefaultDataCollator",
        "default_data_collator",
        "prepare_tf_dataset",
    ),
    "tfhf.data.position": ("DataPosition",),
    "tfhf.data.tfrecord": ("read_tfrecords", "write_tfrecords"),
    "tfhf.generation": ("TextIteratorStreamer", "TextStreamer"),
    "tfhf.generation.logits_processor_list": ("TFLogitsProcessorList",),
    "tfhf.generation.logits_processors": (
        "TFForceTokensLogitsProcessor",
        "TFForcedBOSTokenLogitsProcessor",
        "TFForcedEOSTokenLogitsProcessor",
        "TFLogitsProcessor",
        "TFMinLengthLogitsProcessor",
        "TFSuppressTokensAtBeginLogitsProcessor",
        "TFSuppressTokensLogitsProcessor",
    ),
    "tfhf.generation.logits_warpers": (
        "TFLogitsWarper",
        "TFTemperatureLogitsWarper",
        "TFTopKLogitsWarper",
        "TFTopPLogitsWarper",
    ),
    "tfhf.generation.sequence_processors": (
        "TFNoBadWordsLogitsProcessor",
        "TFNoRepeatNGramLogitsProcessor",
        "TFRepetitionPenaltyLogitsProcessor",
    ),
    "tfhf.hub": ("PushToHubCallback", "create_model_card", "push_folder"),
    "tfhf.keras_hub_bridge": ("from_keras_hub", "to_keras_hub"),
    "tfhf.layers": ("get_tf_activation",),
    "tfhf.metrics": ("F1Score", "load_metric"),
    "tfhf.modeling": ("TFPreTrainedModel",),
    "tfhf.models.encoder_decoder": ("TFEncoderDecoderModel",),
    "tfhf.models.transfo_xl_config": ("TransfoXLConfig",),
    "tfhf.pipelines": ("Pipeline", "PipelineException", "pipeline"),
    "tfhf.sentence_encoder": ("SentenceEncoder",),
    "tfhf.serving": ("export_model",),
    "tfhf.serving.client": ("ServingClient",),
    "tfhf.serving.connection": ("ServingError",),
    "tfhf.tokenization": ("AutoTokenizer", "TransfoXLTokenizer", "tensorflow_tokenizer"),
    "tfhf.tokenization.graph": ("GraphTokenizer", "TFBertTokenizer", "TFGPT2Tokenizer"),
    "tfhf.training": (
        "AdamWeightDecay",
        "EarlyStoppingCallback",
        "EvalPrediction",
        "KerasMetricCallback",
        "LabelSmoother",
        "PredictionOutput",
        "ProgressLine",
        "Seq2SeqTrainer",
        "Seq2SeqTrainingArguments",
        "StopOnBadLoss",
        "TensorBoardExamples",
        "Trainer",
        "TrainerState",
        "TrainingArguments",
        "TrainingCheckpoint",
        "WarmUp",
        "create_optimizer",
        "get_last_checkpoint",
        "get_scheduler",
        "layerwise_lr_decay",
    ),
    "tfhf.training.launch": ("notebook_launcher",),
    "tfhf.training.strategy": ("make_strategy",),
}
_MODULES |= {f"tfhf.models.{module}": names for module, names in MODELS.items()}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'tfhf' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
