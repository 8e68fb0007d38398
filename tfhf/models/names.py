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

DECODER_HEADS = (
    "Model",
    "ForCausalLM",
    "ForSequenceClassification",
    "ForTokenClassification",
    "PreTrainedModel",
)

SEQ2SEQ_HEADS = (
    "Model",
    "ForConditionalGeneration",
    "ForQuestionAnswering",
    "ForSequenceClassification",
    "PreTrainedModel",
)


def _classes(family: str, *heads: str) -> tuple[str, ...]:
    return tuple(f"TF{family}{head}" for head in heads)


#: {file under tfhf/models: its public classes}
MODELS: dict[str, tuple[str, ...]] = {
    "albert": _classes("Albert", *ENCODER_HEADS, "ForPreTraining"),
    "bart": _classes("Bart", *SEQ2SEQ_HEADS),
    "bert": _classes(
        "Bert", *ENCODER_HEADS, "ForNextSentencePrediction", "ForPreTraining", "LMHeadModel"
    ),
    "bloom": _classes("Bloom", *DECODER_HEADS, "ForQuestionAnswering"),
    "camembert": _classes("Camembert", *ENCODER_HEADS, "ForCausalLM"),
    "ctrl": _classes(
        "CTRL", "ForSequenceClassification", "LMHeadModel", "Model", "PreTrainedModel"
    ),
    "deberta": _classes(
        "Deberta", *(head for head in ENCODER_HEADS if head != "ForMultipleChoice")
    ),
    "deberta_v2": _classes("DebertaV2", *ENCODER_HEADS),
    "distilbert": _classes("DistilBert", *ENCODER_HEADS),
    "electra": _classes("Electra", *ENCODER_HEADS, "ForCausalLM", "ForPreTraining"),
    "gemma2": _classes("Gemma2", *DECODER_HEADS),
    "gemma3": _classes(
        "Gemma3", "ForCausalLM", "PreTrainedModel", "TextForSequenceClassification", "TextModel"
    ),
    "gpt2": _classes(
        "GPT2",
        "DoubleHeadsModel",
        "Model",
        "ForQuestionAnswering",
        "ForSequenceClassification",
        "ForTokenClassification",
        "LMHeadModel",
        "PreTrainedModel",
    ),
    "gpt_neo": _classes("GPTNeo", *DECODER_HEADS, "ForQuestionAnswering"),
    "gpt_neox": _classes("GPTNeoX", *DECODER_HEADS, "ForQuestionAnswering"),
    "gptj": _classes(
        "GPTJ",
        "Model",
        "ForCausalLM",
        "ForQuestionAnswering",
        "ForSequenceClassification",
        "PreTrainedModel",
    ),
    "led": _classes(
        "LED", "ForConditionalGeneration", "ForQuestionAnswering", "Model", "PreTrainedModel"
    ),
    "llama": _classes("Llama", *DECODER_HEADS, "ForQuestionAnswering"),
    "longformer": _classes("Longformer", *ENCODER_HEADS),
    "marian": _classes("Marian", "MTModel", "Model", "PreTrainedModel"),
    "mbart": _classes("MBart", *SEQ2SEQ_HEADS),
    "mistral": _classes("Mistral", *DECODER_HEADS, "ForQuestionAnswering"),
    "modernbert": _classes("ModernBert", *ENCODER_HEADS),
    "mpnet": _classes("MPNet", *ENCODER_HEADS),
    "mt5": _classes("MT5", *SEQ2SEQ_HEADS, "EncoderModel", "ForTokenClassification"),
    "openai": _classes(
        "OpenAIGPT",
        "DoubleHeadsModel",
        "ForSequenceClassification",
        "LMHeadModel",
        "Model",
        "PreTrainedModel",
    ),
    "opt": _classes(
        "OPT",
        "Model",
        "ForCausalLM",
        "ForQuestionAnswering",
        "ForSequenceClassification",
        "PreTrainedModel",
    ),
    "pegasus": _classes("Pegasus", "ForConditionalGeneration", "Model", "PreTrainedModel"),
    "phi3": _classes("Phi3", *DECODER_HEADS),
    "qwen2": _classes("Qwen2", *DECODER_HEADS, "ForQuestionAnswering"),
    "qwen3": _classes("Qwen3", *DECODER_HEADS, "ForQuestionAnswering"),
    "roberta": _classes("Roberta", *ENCODER_HEADS, "ForCausalLM"),
    "smollm3": _classes("SmolLM3", *DECODER_HEADS, "ForQuestionAnswering"),
    "t5": _classes("T5", *SEQ2SEQ_HEADS, "EncoderModel", "ForTokenClassification"),
    "transfo_xl": _classes(
        "TransfoXL", "ForSequenceClassification", "LMHeadModel", "Model", "PreTrainedModel"
    ),
    "xlm_roberta": _classes("XLMRoberta", *ENCODER_HEADS, "ForCausalLM"),
}
