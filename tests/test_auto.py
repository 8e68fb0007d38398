import inspect

import pytest
import transformers
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    BertConfig,
    DistilBertConfig,
    MambaConfig,
    PretrainedConfig,
)

import tfhf
import tfhf.auto

TINY = {
    BertConfig: {
        "vocab_size": 20,
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 12,
        "max_position_embeddings": 8,
    },
    DistilBertConfig: {
        "vocab_size": 20,
        "dim": 8,
        "n_layers": 1,
        "n_heads": 2,
        "hidden_dim": 12,
        "max_position_embeddings": 8,
    },
}
CLASSES = {
    "TFAutoModel": {"bert": "TFBertModel", "distilbert": "TFDistilBertModel"},
    "TFAutoModelForPreTraining": {
        "bert": "TFBertForPreTraining",
        "distilbert": "TFDistilBertForMaskedLM",
    },
    "TFAutoModelForMaskedLM": {
        "bert": "TFBertForMaskedLM",
        "distilbert": "TFDistilBertForMaskedLM",
    },
    "TFAutoModelForCausalLM": {"bert": "TFBertLMHeadModel"},
    "TFAutoModelForSeq2SeqLM": {},
    "TFAutoModelForSequenceClassification": {
        "bert": "TFBertForSequenceClassification",
        "distilbert": "TFDistilBertForSequenceClassification",
    },
    "TFAutoModelForTokenClassification": {
        "bert": "TFBertForTokenClassification",
        "distilbert": "TFDistilBertForTokenClassification",
    },
    "TFAutoModelForQuestionAnswering": {
        "bert": "TFBertForQuestionAnswering",
        "distilbert": "TFDistilBertForQuestionAnswering",
    },
    "TFAutoModelForMultipleChoice": {
        "bert": "TFBertForMultipleChoice",
        "distilbert": "TFDistilBertForMultipleChoice",
    },
    "TFAutoModelForNextSentencePrediction": {"bert": "TFBertForNextSentencePrediction"},
    "TFAutoModelForTextEncoding": {"bert": "TFBertModel", "distilbert": "TFDistilBertModel"},
}
PAIRS = [
    (auto, config_class, CLASSES[auto].get(config_class.model_type))
    for auto in CLASSES
    for config_class in TINY
]


def test_every_auto_class_is_here():
    assert set(CLASSES) == {name for name in tfhf.__all__ if name.startswith("TFAuto")}


@pytest.mark.parametrize("auto, config_class, expected", PAIRS)
def test_class_by_configuration(auto, config_class, expected):
    config = config_class(**TINY[config_class])
    auto = getattr(tfhf, auto)
    if expected is None:
        with pytest.raises(ValueError, match=rf"{auto.__name__} has no class for"):
            auto.from_config(config)
    else:
        assert auto.model_class(config) is getattr(tfhf, expected)


@pytest.mark.oracle
@pytest.mark.parametrize("auto, config_class, expected", [pair for pair in PAIRS if pair[2]])
def test_transformers_picks_the_same_class(auto, config_class, expected):
    mapping = getattr(transformers, auto.removeprefix("TF"))._model_mapping
    assert mapping[config_class].__name__ == expected.removeprefix("TF")


def test_from_config_makes_a_model():
    config = DistilBertConfig(**TINY[DistilBertConfig], num_labels=5)
    model = tfhf.TFAutoModelForSequenceClassification.from_config(config, dtype="mixed_bfloat16")
    assert type(model) is tfhf.TFDistilBertForSequenceClassification
    assert model([[1, 2]]).logits.shape == (1, 5)
    assert model.compute_dtype == "bfloat16"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    config = BertConfig(**TINY[BertConfig], num_labels=3)
    tfhf.TFBertForSequenceClassification(config).save_pretrained(folder)
    return folder


class TestFromPretrained:
    def test_class(self, folder):
        model = tfhf.TFAutoModelForSequenceClassification.from_pretrained(folder)
        assert type(model) is tfhf.TFBertForSequenceClassification
        assert model.config.num_labels == 3
        assert type(tfhf.TFAutoModel.from_pretrained(str(folder))) is tfhf.TFBertModel

    def test_arguments_reach_the_configuration(self, folder):
        model = tfhf.TFAutoModelForTokenClassification.from_pretrained(
            folder, id2label={0: "O", 1: "PER", 2: "ORG"}, hidden_dropout_prob=0.3
        )
        assert type(model) is tfhf.TFBertForTokenClassification
        assert model.config.num_labels == 3 and model.config.id2label[1] == "PER"
        assert model.config.hidden_dropout_prob == 0.3

    def test_given_configuration(self, folder):
        config = AutoConfig.from_pretrained(folder, num_labels=3, hidden_dropout_prob=0.3)
        model = tfhf.TFAutoModelForSequenceClassification.from_pretrained(folder, config=config)
        assert model.config.hidden_dropout_prob == 0.3

    def test_loading_info(self, folder):
        _, info = tfhf.TFAutoModel.from_pretrained(folder, output_loading_info=True)
        assert sorted(info["unexpected_keys"]) == ["classifier.bias", "classifier.weight"]

    def test_code_from_a_checkpoint_is_never_run(self, folder):
        with pytest.raises(ValueError, match="trust_remote_code=True: tfhf never runs code"):
            tfhf.TFAutoModel.from_pretrained(folder, trust_remote_code=True)

    def test_unknown_arguments_are_refused(self, folder):
        with pytest.raises(TypeError, match="'num_label'"):
            tfhf.TFAutoModel.from_pretrained(folder, num_label=3)

    def test_architecture_that_is_not_there(self, tmp_path):
        MambaConfig().save_pretrained(tmp_path)
        with pytest.raises(ValueError, match=r"no class for MambaConfig \(model type 'mamba'\)"):
            tfhf.TFAutoModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_error_lists_what_there_is(name):
    auto = getattr(tfhf, name)
    with pytest.raises(ValueError, match="has no class for MambaConfig") as error:
        auto.from_config(MambaConfig())
    listed = str(error.value).rpartition(": ")[2].rstrip(".").split(", ")
    for model_type in ("bert", "distilbert"):
        assert (model_type in listed) == (model_type in CLASSES[name])
    for model_type in filter(None, listed):
        assert issubclass(auto.model_class(CONFIG_MAPPING[model_type]()), tfhf.TFPreTrainedModel)


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_direct_construction_is_refused(name):
    with pytest.raises(OSError, match=rf"{name}\.from_pretrained.*{name}\.from_config"):
        getattr(tfhf, name)()


class OddConfig(PretrainedConfig):
    model_type = "odd"


class TestRegister:
    @pytest.fixture
    def odd_model(self, monkeypatch):
        for auto in (tfhf.TFAutoModel, tfhf.TFAutoModelForMaskedLM):
            monkeypatch.setattr(auto, "registered", {})

        class TFOddModel(tfhf.TFPreTrainedModel):
            config_class = OddConfig
            base_model_prefix = "odd"

        return TFOddModel

    def test_own_model(self, odd_model):
        with pytest.raises(ValueError, match="'odd'"):
            tfhf.TFAutoModel.model_class(OddConfig())
        tfhf.TFAutoModel.register(OddConfig, odd_model)
        assert type(tfhf.TFAutoModel.from_config(OddConfig())) is odd_model

    def test_other_tasks_do_not_get_it(self, odd_model):
        tfhf.TFAutoModel.register(OddConfig, odd_model)
        with pytest.raises(ValueError, match="TFAutoModelForMaskedLM has no class"):
            tfhf.TFAutoModelForMaskedLM.from_config(OddConfig())

    def test_twice_needs_to_be_said(self, odd_model):
        tfhf.TFAutoModel.register(OddConfig, odd_model)
        with pytest.raises(ValueError, match="OddConfig is registered already"):
            tfhf.TFAutoModel.register(OddConfig, odd_model)
        tfhf.TFAutoModel.register(OddConfig, odd_model, exist_ok=True)

    def test_configuration_of_another_model(self, odd_model):
        with pytest.raises(ValueError, match="TFOddModel takes OddConfig, not BertConfig"):
            tfhf.TFAutoModel.register(BertConfig, odd_model)


def test_every_class_says_what_it_is():
    for name in CLASSES:
        assert inspect.getdoc(getattr(tfhf.auto, name)) != inspect.getdoc(tfhf.auto._TFAuto)
