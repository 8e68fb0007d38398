"""TFPreTrainedModel: what every model can do beside its forward pass.

Generating, reading and writing checkpoints, export, and its parts; ``keras_model.py`` has calling
and training. The forward passes are in ``tfhf/models``.
"""

from __future__ import annotations

import copy
import os
from typing import TYPE_CHECKING, Any, ClassVar, Self

import keras
import numpy as np
import tensorflow as tf
from transformers import GenerationConfig, PretrainedConfig

from tfhf.adapters import TFAdapterMixin, save_adapter
from tfhf.checkpoints import pretrained
from tfhf.checkpoints.weight_table import WeightTable
from tfhf.keras_model import TFKerasModel
from tfhf.layers import Embedding
from tfhf.layers.embeddings import token_vectors
from tfhf.layers.low_rank import updates

if TYPE_CHECKING:
    import datasets


class TFPreTrainedModel(TFAdapterMixin, TFKerasModel):
    """Base of all models: a Keras model that takes a Transformers configuration.

    Args:
        config: the Transformers configuration of this architecture.
        dtype: a Keras dtype policy or its name (``"mixed_bfloat16"``); default: the global policy.
        name: the Keras name.

    Raises:
        TypeError: ``config`` is of another architecture.

    Example:
        >>> from transformers import BertConfig
        >>> import tfhf
        >>> model = tfhf.TFBertModel(BertConfig(num_hidden_layers=1))
        >>> model(tf.constant([[101, 102]])).last_hidden_state.shape
        TensorShape([1, 2, 768])
    """

    config_class: ClassVar[Any]
    base_model_prefix: ClassVar[str]
    weight_table: WeightTable
    can_generate: ClassVar[bool] = False
    framework: ClassVar[str] = "tf"

    def __init__(
        self, config: PretrainedConfig, *, dtype: Any = None, name: str | None = None
    ) -> None:
        if not isinstance(config, self.config_class):
            raise TypeError(
                f"config of {type(self).__name__} must be a {self.config_class.__name__}, "
                f"but it is a {type(config).__name__}"
            )
        # Labels of a regression must not be rounded to the compute dtype: layers cast their inputs.
        super().__init__(dtype=dtype, name=name, autocast=False)
        self.config = config
        self.name_or_path = getattr(config, "name_or_path", "")
        if self.can_generate:
            self.generation_config = GenerationConfig.from_model_config(config)
            self.generation_functions: dict[Any, Any] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        keras.saving.register_keras_serializable("tfhf")(cls)

    def build(self, input_shape: Any = None) -> None:
        """Create all variables; sizes come from the configuration, so no input is needed."""
        for layer in self.layers:
            if not layer.built:
                layer.build(None)
        self.built = True

    # Generation ---------------------------------------------------------------------------------

    def generate(self, inputs: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Continue token sequences, or write a target to each source.

        Settings are those of Transformers' ``GenerationConfig``, by name, in a
        ``generation_config``, or the model's own ``generation_config``.

        Args:
            inputs: int [batch, length], also as ``input_ids``, padded at the left; with
                ``attention_mask``, 0 for padding. Left out: the token that begins a text. Or, by
                name, ``inputs_embeds`` [batch, length, size]: the vectors of what is to be
                continued, whose ids are -1 to processors. Of an encoder-decoder this is the source,
                padded at either side, which may also be ``encoder_outputs``; what is continued is
                ``decoder_input_ids``, or the token that ``decoder_start_token_id`` says.
            *args: ``generation_config``, ``logits_processor``, ``seed``.
            **kwargs: those by name, and ``prefix_allowed_tokens_fn(batch_id, input_ids)``, the
                tokens that may follow; ``assistant_model``, a small model that guesses, so that
                this one reads several tokens at a time; ``streamer``, which is given tokens as
                they come;
                ``tokenizer``, for ``stop_strings``; ``stopping_criteria``, functions of
                ``(input_ids, cur_len)`` that say which rows are complete, bool [rows];
                ``jit_compile``, whether to use XLA; any setting; any input of the model. ``seed``
                is an integer or two, or [batch, 2]: two for each row, which then gets what it
                would get alone.

        Returns:
            int [rows, length], the prompts (not those of vectors) and what follows, or with
            ``return_dict_in_generate=True`` an output that has scores, too.

        Raises:
            TypeError: the class has no head that scores the next token.
            ValueError: a setting or an input is unknown or impossible.

        Example:
            >>> from transformers import GPT2Config
            >>> import tfhf
            >>> config = GPT2Config(n_layer=1, n_embd=4, n_head=1, vocab_size=9, eos_token_id=None)
            >>> model = tfhf.TFGPT2LMHeadModel(config)
            >>> model.generate(tf.constant([[1, 2]]), max_new_tokens=3).shape
            TensorShape([1, 5])
        """
        from tfhf.generation import generate

        if not self.can_generate:
            task = "Seq2SeqLM" if self.config.is_encoder_decoder else "CausalLM"
            raise TypeError(
                f"{type(self).__name__} cannot generate: it has no head that scores the next "
                f"token; load the checkpoint with TFAutoModelFor{task}"
            )
        return generate(self, inputs, *args, **kwargs)

    def compute_transition_scores(
        self,
        sequences: tf.Tensor,
        scores: Any,
        beam_indices: tf.Tensor | None = None,
        normalize_logits: bool = False,
    ) -> tf.Tensor:
        """Return the score that each generated token was chosen with.

        Arguments are what ``generate(return_dict_in_generate=True, output_scores=True)`` returns
        under these names.

        Args:
            sequences: int [rows, length].
            scores: per step, [rows, vocab_size].
            beam_indices: int [rows, new tokens], of beam search.
            normalize_logits: whether to make log-probabilities of the scores first.

        Returns:
            float32 [rows, new tokens]; with beams, 0 behind the end of a sequence.
        """
        from tfhf.generation.transition_scores import compute_transition_scores

        return compute_transition_scores(sequences, scores, beam_indices, normalize_logits)

    # Data -----------------------------------------------------------------------------------------

    def prepare_tf_dataset(
        self, dataset: datasets.Dataset, *args: Any, **kwargs: Any
    ) -> tf.data.Dataset:
        """Make batches for ``fit`` from a ``datasets.Dataset``.

        Arguments are those of :func:`tfhf.data.prepare_tf_dataset`: ``batch_size``, ``shuffle``,
        ``tokenizer``, ``collate_fn``, ``drop_remainder``, ….
        """
        from tfhf.data import prepare_tf_dataset

        return prepare_tf_dataset(self, dataset, *args, **kwargs)

    # Checkpoints --------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike, *args: Any, **kwargs: Any
    ) -> Any:
        """Load a model from a folder or a Hub id.

        Reads ``model.safetensors``, ``pytorch_model.bin`` and ``tf_model.h5``, in shards too.

        Args:
            pretrained_model_name_or_path: a folder with ``config.json`` and weights, or a Hub id.
            *args: none are taken; there for the old signature.
            **kwargs: ``config``, ``revision``, ``token``, ``cache_dir``, ``local_files_only``,
                ``force_download``, ``subfolder``: where from; ``dtype``: a Keras policy, a float
                type, or "auto" for the one of the file; ``ignore_mismatched_sizes``: start anew
                what has another shape; ``output_loading_info``: return (model, info) with
                ``missing_keys``, ``unexpected_keys`` and ``mismatched_keys``; all others
                (``num_labels``, ``id2label``, …) change the configuration.

        Raises:
            OSError: no configuration or no weights there.
            ValueError: shapes differ, or an argument is not supported.
            CorruptCheckpointError, UnsafeCheckpointError: a damaged or a dangerous file.

        Example:
            >>> import tfhf
            >>> model = tfhf.TFBertForSequenceClassification.from_pretrained(
            ...     "bert-base-cased", num_labels=3)  # doctest: +SKIP
        """
        if args:
            raise ValueError(f"from_pretrained takes keyword arguments only, but got {args!r}")
        return pretrained.from_pretrained(cls, pretrained_model_name_or_path, **kwargs)

    @classmethod
    def scoring_part(cls, config: PretrainedConfig) -> tuple[PretrainedConfig, WeightTable, str]:
        """Return the configuration and the weights of what scores tokens; how their names begin."""
        return config, cls.weight_table, ""

    def save_pretrained(
        self,
        save_directory: str | os.PathLike,
        *,
        max_shard_size: int | str = "5GB",
        safe_serialization: bool = True,
        push_to_hub: bool = False,
        **kwargs: Any,
    ) -> None:
        """Write ``config.json`` and ``model.safetensors`` as PyTorch's classes read them.

        The folder changes at once: killed at any moment, it holds the old checkpoint or the new.
        Other files in it are kept. Of a model with an adapter, the adapter alone is written.

        Args:
            save_directory: the folder; made if need be.
            max_shard_size: bytes, or a text such as "5GB", above which weights go to several files.
            safe_serialization: there for the old signature; only True is known.
            push_to_hub: upload the folder as well.
            **kwargs: with it, those of :func:`tfhf.push_folder`.

        Raises:
            TypeError, ValueError: an argument is unknown, or not supported.
        """
        if "saved_model" in kwargs:
            raise TypeError("save_pretrained has no argument 'saved_model': use model.export(…)")
        if kwargs and not push_to_hub:
            raise TypeError(f"save_pretrained has no argument {next(iter(kwargs))!r}")
        if not safe_serialization:
            raise ValueError("safe_serialization must be True: only safetensors are written")
        if any(not update.merged for _, update in updates(self)):
            save_adapter(self, save_directory)
        else:
            pretrained.save_pretrained(self, save_directory, max_shard_size=max_shard_size)
        if push_to_hub:
            from tfhf.hub import push_folder

            push_folder(save_directory, **kwargs)

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> str:
        """Save and upload the model; see :func:`tfhf.hub.push_model` for the arguments."""
        from tfhf.hub import push_model

        return push_model(self, repo_id, **kwargs)

    def export(
        self,
        directory: str | os.PathLike,
        tokenizer: Any = None,
        task: str | None = None,
        **kwargs: Any,
    ) -> str:
        """Write the next version of a SavedModel for TF Serving; with ``tokenizer`` it takes text.

        See :func:`tfhf.serving.export_model` for the arguments and the signatures.
        """
        from tfhf.serving import export_model

        return export_model(self, directory, tokenizer, task, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Return what ``model.save("x.keras")`` keeps of the model beside its weights."""
        if self.adapter is not None:
            raise ValueError("the model has an adapter: save_pretrained, or delete_adapter first")
        return {
            "config": self.config.to_dict(),
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
            "name": self.name,
            "trainable": [layer.trainable for layer in self._flatten_layers()],
            "generation_config": self.generation_config.to_dict() if self.can_generate else None,
        }

    @classmethod
    def from_config(cls, config: PretrainedConfig | dict[str, Any], **kwargs: Any) -> Self:
        """Make a model with random weights from a configuration (or from :meth:`get_config`)."""
        if isinstance(config, PretrainedConfig):
            return cls(config, **kwargs)
        kept = dict(config)
        trainable, generation = kept.pop("trainable"), kept.pop("generation_config")
        dtype = keras.saving.deserialize_keras_object(kept.pop("dtype"))
        written = kept.pop("config")
        made = cls.config_class.from_dict(written)
        if "tie_word_embeddings" in written:  # T5's says what files do, whatever is written
            made.tie_word_embeddings = written["tie_word_embeddings"]
        model = cls(made, dtype=dtype, **kept)
        for layer, layer_trainable in zip(model._flatten_layers(), trainable):
            layer.trainable = layer_trainable
        if generation is not None:
            model.generation_config = GenerationConfig.from_dict(generation)
        return model

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Do nothing: a model is built when it is made."""

    def __dir__(self) -> list[str]:
        # Keras saves every layer that dir() names; a body that names itself has no end.
        return [name for name in super().__dir__() if name != "base_model"]

    # Parts --------------------------------------------------------------------------------------

    @property
    def base_model(self) -> TFPreTrainedModel:
        """The body without the head; a body is its own."""
        return vars(self).get(self.base_model_prefix, self)

    def get_input_embeddings(self) -> Embedding:
        """Return the table of token embeddings."""
        return self.base_model.embeddings.token

    def token_vectors(
        self, input_ids: tf.Tensor | None, inputs_embeds: tf.Tensor | None
    ) -> tf.Tensor:
        """Return the token vectors [batch, length, size] of either input, after checking it.

        Raises:
            ValueError: neither or both inputs, or one that cannot be right: see `layers.checks`.
        """
        table = self.get_input_embeddings()
        return token_vectors(table, input_ids, inputs_embeds, max_length=self.max_length)

    def resize_token_embeddings(self, new_num_tokens: int | None = None) -> Embedding:
        """Have room for another number of tokens, in the head that scores them too.

        New rows start with random values; compile the model again afterwards.

        Args:
            new_num_tokens: usually ``len(tokenizer)``; ``None`` changes nothing.

        Returns:
            The table of token embeddings.

        Raises:
            ValueError: ``new_num_tokens`` is less than 1.
        """
        embeddings = self.get_input_embeddings()
        if new_num_tokens is None or new_num_tokens == embeddings.input_dim:
            return embeddings
        heads = [self.lm_head] if hasattr(self, "lm_head") else []
        self.resize_layers([embeddings, *heads], new_num_tokens)
        self.config.vocab_size = new_num_tokens
        return embeddings

    def resize_layers(self, layers: list[Any], new_num_tokens: int) -> None:
        """Give layers another number of tokens, and forget what was compiled for the old one.

        Raises:
            ValueError: ``new_num_tokens`` is less than 1.
        """
        if new_num_tokens < 1:
            raise ValueError(f"new_num_tokens must be at least 1, but it is {new_num_tokens}")
        for layer in layers:
            layer.resize(new_num_tokens)
        self.forget_functions()

    def forget_functions(self) -> None:
        """Forget what was traced or compiled, for the model is another one now."""
        self.train_function = self.test_function = self.predict_function = None
        if self.can_generate:
            self.generation_functions.clear()

    @property
    def input_signature(self) -> dict[str, tf.TensorSpec]:
        """The token inputs that the model is served with: int32 [batch, length] each."""
        names = ("input_ids", "attention_mask", "token_type_ids")
        return token_specs(*(name for name in names if name in self.input_names))

    @property
    def max_length(self) -> int | None:
        """The number of tokens that the model has positions for; ``None``: any number."""
        return getattr(self.config, "max_position_embeddings", None)

    @property
    def first_position(self) -> int:
        """The position of a sequence's first token."""
        return 0

    @property
    def dummy_inputs(self) -> dict[str, tf.Tensor]:
        """A small batch to try the model with."""
        return {self.main_input_name: tf.constant([[1, 2, 3], [0, 0, 1]])}

    def num_parameters(self, only_trainable: bool = False) -> int:
        """Return the number of parameters."""
        weights = self.trainable_weights if only_trainable else self.weights
        return sum(int(np.prod(weight.shape)) for weight in weights)

    def output_flags(
        self, output_attentions: bool | None, output_hidden_states: bool | None
    ) -> dict[str, bool]:
        """Return both flags, those left open as the configuration says."""
        config = self.config
        return {
            "output_attentions": config.output_attentions
            if output_attentions is None
            else output_attentions,
            "output_hidden_states": config.output_hidden_states
            if output_hidden_states is None
            else output_hidden_states,
        }

    def copy_config(self) -> PretrainedConfig:
        """Return the configuration as saved: with this class's name and the weights' dtype."""
        config = copy.deepcopy(self.config)
        config.architectures = [type(self).__name__.removeprefix("TF")]
        config.dtype = self.dtype_policy.variable_dtype
        return config


def token_specs(*names: str) -> dict[str, tf.TensorSpec]:
    """Return what inputs of tokens are: int32 [batch, length] each.

    Example:
        >>> token_specs("input_ids")["input_ids"].shape
        TensorShape([None, None])
    """
    return {name: tf.TensorSpec((None, None), tf.int32, name=name) for name in names}
