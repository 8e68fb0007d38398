"""TFAutoModel and its kin: the class that fits a checkpoint's configuration and a task.

Which class a model type has for a task is read from Transformers' own tables, to which the models
are added that Transformers 5 dropped and tfhf keeps.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

# Not "from transformers.models.auto import modeling_auto", which without PyTorch is a stand-in.
import transformers.models.auto.modeling_auto as names
from transformers import AutoConfig, PretrainedConfig

import tfhf
import tfhf.models.transfo_xl_config  # makes AutoConfig know Transformer-XL
from tfhf.checkpoints.pretrained import HUB_ARGUMENTS
from tfhf.modeling import TFPreTrainedModel


class _TFAuto:
    """What all auto classes share."""

    class_names: ClassVar[dict[str, str]]
    registered: ClassVar[dict[type[PretrainedConfig], type[TFPreTrainedModel]]]

    def __init__(self) -> None:
        cls = type(self).__name__
        raise OSError(f"{cls} is made by {cls}.from_pretrained(…) or {cls}.from_config(config)")

    def __init_subclass__(cls) -> None:
        cls.registered = {}

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike, *args: Any, **kwargs: Any
    ) -> Any:
        """Load a checkpoint with the class that fits its configuration.

        Args:
            pretrained_model_name_or_path: a folder or a Hub id.
            *args: none are taken.
            **kwargs: as for :meth:`tfhf.TFPreTrainedModel.from_pretrained`.

        Raises:
            ValueError: the architecture is not there, or has no such head.

        Example:
            >>> import tfhf
            >>> model = tfhf.TFAutoModelForSequenceClassification.from_pretrained(
            ...     "distilbert-base-uncased", num_labels=2)  # doctest: +SKIP
        """
        config = kwargs.pop("config", None)
        if config is None:
            hub = {name: kwargs[name] for name in HUB_ARGUMENTS if name in kwargs}
            config = AutoConfig.from_pretrained(pretrained_model_name_or_path, **hub)
        model_class = cls.model_class(config)
        return model_class.from_pretrained(
            pretrained_model_name_or_path, *args, config=config, **kwargs
        )

    @classmethod
    def from_config(cls, config: PretrainedConfig, **kwargs: Any) -> TFPreTrainedModel:
        """Return a model with random weights.

        Example:
            >>> from transformers import BertConfig
            >>> type(tfhf.TFAutoModel.from_config(BertConfig(num_hidden_layers=1))).__name__
            'TFBertModel'
        """
        return cls.model_class(config)(config, **kwargs)

    @classmethod
    def model_class(cls, config: PretrainedConfig) -> type[TFPreTrainedModel]:
        """Return the class for a configuration; raise ValueError where there is none."""
        if type(config) in cls.registered:
            return cls.registered[type(config)]
        name = cls.class_names.get(config.model_type)
        name = name[0] if isinstance(name, list | tuple) else name
        if name and f"TF{name}" in tfhf.__all__:
            return getattr(tfhf, f"TF{name}")
        available = sorted(
            model_type
            for model_type, name in cls.class_names.items()
            if isinstance(name, str) and f"TF{name}" in tfhf.__all__
        )
        raise ValueError(
            f"{cls.__name__} has no class for {type(config).__name__} (model type "
            f"{config.model_type!r}). It knows the model types: {', '.join(available)}."
        )

    @classmethod
    def register(
        cls,
        config_class: type[PretrainedConfig],
        model_class: type[TFPreTrainedModel],
        exist_ok: bool = False,
    ) -> None:
        """Use ``model_class`` for ``config_class`` from now on.

        Raises:
            ValueError: the class takes another configuration, or one is registered already.
        """
        if model_class.config_class is not config_class:
            raise ValueError(
                f"{model_class.__name__} takes {model_class.config_class.__name__}, "
                f"not {config_class.__name__}"
            )
        if config_class in cls.registered and not exist_ok:
            raise ValueError(f"{config_class.__name__} is registered already; see exist_ok")
        cls.registered[config_class] = model_class


class TFAutoModel(_TFAuto):
    """Bodies, without a head."""

    class_names = names.MODEL_MAPPING_NAMES | {"transfo-xl": "TransfoXLModel"}


class TFAutoModelForPreTraining(_TFAuto):
    """Models with the heads that they were pretrained with."""

    class_names = names.MODEL_FOR_PRETRAINING_MAPPING_NAMES | {"transfo-xl": "TransfoXLLMHeadModel"}


class TFAutoModelForMaskedLM(_TFAuto):
    """Models that fill masks."""

    class_names = names.MODEL_FOR_MASKED_LM_MAPPING_NAMES


class TFAutoModelForCausalLM(_TFAuto):
    """Models that continue text."""

    class_names = names.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES | {"transfo-xl": "TransfoXLLMHeadModel"}


class TFAutoModelForSeq2SeqLM(_TFAuto):
    """Encoder-decoders that turn text into text."""

    class_names = names.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES


class TFAutoModelForSequenceClassification(_TFAuto):
    """Models that classify whole sequences."""

    class_names = names.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES | {
        "transfo-xl": "TransfoXLForSequenceClassification"
    }


class TFAutoModelForTokenClassification(_TFAuto):
    """Models that classify tokens."""

    class_names = names.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES


class TFAutoModelForQuestionAnswering(_TFAuto):
    """Models that mark an answer in a text."""

    class_names = names.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES


class TFAutoModelForMultipleChoice(_TFAuto):
    """Models that choose among texts."""

    class_names = names.MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES


class TFAutoModelForNextSentencePrediction(_TFAuto):
    """Models that say whether a sentence follows another."""

    class_names = names.MODEL_FOR_NEXT_SENTENCE_PREDICTION_MAPPING_NAMES


class TFAutoModelForTextEncoding(_TFAuto):
    """Encoders of text."""

    class_names = names.MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES
