"""ModernBERT against PyTorch: global and local layers, biases, both poolings."""

from parity import ParityTests
from transformers import ModernBertConfig

TINY = {
    "vocab_size": 29,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 9,
    "max_position_embeddings": 11,
    "local_attention": 4,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "cls_token_id": 1,
    "sep_token_id": 2,
}


class TestModernBert(ParityTests):
    family = "ModernBert"
    configs = {
        "plain": ModernBertConfig(**TINY),
        "odd": ModernBertConfig(
            **TINY | {"num_hidden_layers": 3, "num_attention_heads": 1, "local_attention": 3},
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            rope_parameters={
                "full_attention": {"rope_type": "default", "rope_theta": 50.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 7.0},
            },
            hidden_activation="silu",
            norm_eps=1e-3,
            norm_bias=True,
            attention_bias=True,
            mlp_bias=True,
            decoder_bias=False,
            classifier_bias=True,
            classifier_activation="gelu_new",
            classifier_pooling="mean",
            classifier_dropout=0.3,
            attention_dropout=0.1,
            mlp_dropout=0.2,
            embedding_dropout=0.2,
            tie_word_embeddings=False,
            num_labels=5,
        ),
        "global only": ModernBertConfig(
            **TINY | {"num_hidden_layers": 1}, decoder_bias=False, num_labels=3
        ),
        "regression": ModernBertConfig(**TINY, num_labels=1, classifier_pooling="mean"),
        "several labels": ModernBertConfig(
            **TINY, num_labels=4, problem_type="multi_label_classification"
        ),
    }

    def inputs(self, head, config, ours, seed=0):
        cases = super().inputs(head, config, ours, seed)
        if head == "ForMultipleChoice" and config.classifier_pooling == "mean":
            del cases["no mask"], cases["length 1"]  # PyTorch's class needs a mask for the mean
        return cases
