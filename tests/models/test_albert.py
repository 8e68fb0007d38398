"""ALBERT against PyTorch: groups that do and do not divide the layers, several inner layers."""

from parity import ParityTests
from transformers import AlbertConfig

TINY = {
    "vocab_size": 29,
    "embedding_size": 10,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 17,
    "max_position_embeddings": 11,
}
CONFIGS = {
    "plain": TINY,
    "groups": TINY | {"num_hidden_layers": 5, "num_hidden_groups": 3, "inner_group_num": 2},
    "odd": TINY
    | {
        "embedding_size": 12,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "type_vocab_size": 5,
        "hidden_act": "relu",
        "layer_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "num_labels": 5,
        "classifier_dropout_prob": 0.3,
    },
    "regression": TINY | {"num_labels": 1},
    "several labels": TINY | {"num_labels": 4, "problem_type": "multi_label_classification"},
}


class TestAlbert(ParityTests):
    family = "Albert"
    configs = {name: AlbertConfig(**options) for name, options in CONFIGS.items()}

    def fits(self, head, config):
        # PyTorch gives the order of two sentences as many classes as there are labels.
        return super().fits(head, config) and (head != "ForPreTraining" or config.num_labels == 2)
