"""The public classes of each model file, known without importing any of them."""

from __future__ import annotations

ENCODER_HEADS = (
    "Model",
    "ForMaskedLM",
    "ForMultipleChoice",
    "ForQuestionAnswering",
    "ForSequenceClassification",
    "ForTokenClassification",
    "PreTrainedModel",
)


def _classes(family: str, *heads: str) -> tuple[str, ...]:
    return tuple(f"TF{family}{head}" for head in heads)


#: {file under tfhf/models: its public classes}
MODELS: dict[str, tuple[str, ...]] = {
    "albert": _classes("Albert", *ENCODER_HEADS, "ForPreTraining"),
    "bert": _classes(
        "Bert", *ENCODER_HEADS, "ForNextSentencePrediction", "ForPreTraining", "LMHeadModel"
    ),
    "camembert": _classes("Camembert", *ENCODER_HEADS, "ForCausalLM"),
    "deberta_v2": _classes("DebertaV2", *ENCODER_HEADS),
    "distilbert": _classes("DistilBert", *ENCODER_HEADS),
    "electra": _classes("Electra", *ENCODER_HEADS, "ForCausalLM", "ForPreTraining"),
    "longformer": _classes("Longformer", *ENCODER_HEADS),
    "modernbert": _classes("ModernBert", *ENCODER_HEADS),
    "mpnet": _classes("MPNet", *ENCODER_HEADS),
    "roberta": _classes("Roberta", *ENCODER_HEADS, "ForCausalLM"),
    "xlm_roberta": _classes("XLMRoberta", *ENCODER_HEADS, "ForCausalLM"),
}
