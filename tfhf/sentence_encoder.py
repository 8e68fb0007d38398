"""Sentence embeddings: the folders of the sentence-transformers library, in TensorFlow.

Such a folder lists its modules in ``modules.json``: a Transformers checkpoint, how its states
become one vector, and what is done with that vector. Reference: ``SentenceTransformer``.
https://arxiv.org/abs/1908.10084 (Reimers and Gurevych, 2019).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf
from tokenizers import normalizers
from transformers import PreTrainedTokenizerBase
from transformers.tokenization_utils_base import LARGE_INTEGER

from tfhf.auto import TFAutoModel
from tfhf.checkpoints.checkpoint import CorruptCheckpointError, UnsafeCheckpointError
from tfhf.checkpoints.locate import find_file, find_weights
from tfhf.checkpoints.reader import open_checkpoint
from tfhf.layers import Dense, get_tf_activation
from tfhf.modeling import TFPreTrainedModel
from tfhf.tokenization import AutoTokenizer

Vectors = Callable[[tf.Tensor], tf.Tensor]

ACTIVATIONS = {
    "GELU": "gelu",
    "Identity": "linear",
    "LeakyReLU": "leaky_relu",
    "ReLU": "relu",
    "SiLU": "silu",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
}
"""Names of activations in ``torch.nn`` and here."""


# Poolings: states [batch, length, size] and seen [batch, length], float32, 0 for padding; the
# results are [batch, size].


def _first(states: tf.Tensor, seen: tf.Tensor) -> tf.Tensor:
    return tf.gather(states, tf.argmax(seen, axis=1), batch_dims=1)


def _last(states: tf.Tensor, seen: tf.Tensor) -> tf.Tensor:
    return _first(states[:, ::-1], seen[:, ::-1])


def _max(states: tf.Tensor, seen: tf.Tensor) -> tf.Tensor:
    return tf.reduce_max(tf.where(seen[:, :, None] > 0, states, -np.inf), axis=1)


def _mean(states: tf.Tensor, seen: tf.Tensor) -> tf.Tensor:
    weights = seen / tf.maximum(tf.reduce_sum(seen, axis=1, keepdims=True), 1e-9)
    return tf.linalg.matvec(states, weights, transpose_a=True)


def _mean_of_root(states: tf.Tensor, seen: tf.Tensor) -> tf.Tensor:
    return _mean(states, seen) * tf.sqrt(tf.reduce_sum(seen, axis=1, keepdims=True))


def _weighted_mean(states: tf.Tensor, seen: tf.Tensor) -> tf.Tensor:
    return _mean(states, seen * tf.cumsum(seen, axis=1))


POOLINGS: dict[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "cls": _first,
    "max": _max,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_of_root,
    "weightedmean": _weighted_mean,
    "lasttoken": _last,
}
"""How states become a vector: that of the first token, the greatest numbers, the mean, the sum by
the square root of the length, the mean weighted by position (from 1), that of the last token."""


def normalize(vectors: tf.Tensor) -> tf.Tensor:
    """Give vectors [..., size] the length 1.

    Example:
        >>> normalize(tf.constant([3.0, 4.0])).numpy().round(3).tolist()
        [0.6000000238418579, 0.800000011920929]
    """
    return tf.math.l2_normalize(vectors, axis=-1, epsilon=1e-24)


SIMILARITIES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "cosine": lambda a, b: normalize(a).numpy() @ normalize(b).numpy().T,
    "dot": lambda a, b: a @ b.T,
    "euclidean": lambda a, b: -_distances(a, b, 2),
    "manhattan": lambda a, b: -_distances(a, b, 1),
}
"""How alike vectors [a, size] and [b, size] are, float32 [a, b]; the more, the greater."""


def _distances(a: np.ndarray, b: np.ndarray, order: int) -> np.ndarray:
    rows = [np.linalg.norm(b - row, ord=order, axis=1) for row in a]
    return np.array(rows, np.float32).reshape(len(a), len(b))


class SentenceEncoder:
    """Turns sentences into vectors that are near each other where the meanings are.

    Args:
        model: an encoder without a head.
        tokenizer: its tokenizer.
        pooling: one or more of `POOLINGS`; the vectors of several are joined.
        after: what is done with the vectors then, one after the other.
        max_length: tokens per sentence, special ones included; default: all that fit the model.
        prompts: texts before every sentence, by the names that :meth:`encode` knows them by.
        default_prompt_name: which prompt is used where :meth:`encode` is told none.
        similarity: one of `SIMILARITIES`, which :meth:`similarity` computes.

    Raises:
        ValueError: a name is not one of those.

    Example:
        >>> import tfhf
        >>> encoder = tfhf.SentenceEncoder.from_pretrained(
        ...     "sentence-transformers/all-MiniLM-L6-v2")  # doctest: +SKIP
        >>> vectors = encoder.encode(["A cat sleeps.", "A kitten naps."])  # doctest: +SKIP
        >>> encoder.similarity(vectors, vectors).shape  # doctest: +SKIP
        (2, 2)
    """

    def __init__(
        self,
        model: TFPreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        pooling: Sequence[str] = ("mean",),
        after: Sequence[Vectors] = (),
        max_length: int | None = None,
        prompts: Mapping[str, str] | None = None,
        default_prompt_name: str | None = None,
        similarity: str = "cosine",
    ) -> None:
        for name in pooling:
            _known(name, POOLINGS, "pooling")
        self.model = model
        self.tokenizer = tokenizer
        self.pooling = tuple(pooling)
        self.after = tuple(after)
        limits = (max_length or tokenizer.model_max_length, model.max_length)
        known = [limit for limit in limits if limit is not None and limit < LARGE_INTEGER]
        self.max_length = min(known, default=None)
        self.prompts = dict(prompts or {})
        if default_prompt_name is not None:
            _known(default_prompt_name, self.prompts, "default_prompt_name")
        self.default_prompt_name = default_prompt_name
        self._similarity = SIMILARITIES[_known(similarity, SIMILARITIES, "similarity")]
        self._signature = {
            name: spec
            for name, spec in model.input_signature.items()
            if name in tokenizer.model_input_names
        }
        self._vectors = tf.function(self.embed, input_signature=[self._signature])

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | os.PathLike[str], *, dtype: Any = None, **hub: Any
    ) -> Self:
        """Load a folder, or a repository of the Hub.

        Its modules may be Transformer, Pooling, Dense and Normalize. Without ``modules.json``, it
        is a Transformers checkpoint, whose states are averaged.

        Args:
            name_or_path: the folder or the Hub id.
            dtype: of the model, as for ``TFPreTrainedModel.from_pretrained``.
            **hub: ``revision``, ``token``, ``cache_dir``, ``local_files_only``, ``force_download``.

        Raises:
            OSError: a file is not there.
            ValueError: a module or an option that is not supported.
            CorruptCheckpointError, UnsafeCheckpointError: a damaged or a dangerous file.
        """
        name = os.fspath(name_or_path)
        modules = _read_json(name, "modules.json", hub) or [
            {"path": "", "type": "sentence_transformers.models.Transformer"},
        ]
        kinds = [_module_kind(module) for module in modules]
        if kinds[0] != "Transformer" or kinds[1:2] not in ([], ["Pooling"]):
            raise ValueError(f"modules.json of {name} lists {kinds}: not a Transformer and Pooling")
        root, options = _module_place(name, modules[0], hub)
        tokenizer = AutoTokenizer.from_pretrained(root, **options)
        model = TFAutoModel.from_pretrained(root, dtype=dtype, **options)
        settings: dict[str, Any] = {}
        for kind in ("bert", model.config.model_type):  # old folders have the model type there
            settings |= _read_json(root, f"sentence_{kind}_config.json", options) or {}
        if settings.get("do_lower_case"):
            _lower_case(tokenizer)
        pooling: tuple[str, ...] = ("mean",)
        if len(modules) > 1:
            root, options = _module_place(name, modules[1], hub)
            pooling = _pooling_modes(_read_json(root, "config.json", options) or {})
        after: list[Vectors] = []
        for kind, module in zip(kinds[2:], modules[2:]):
            if kind == "Normalize":
                after.append(normalize)
            elif kind == "Dense":
                after.append(_read_dense(*_module_place(name, module, hub)))
            else:
                raise ValueError(f"modules.json of {name} lists {kind}, which is not supported")
        whole = _read_json(name, "config_sentence_transformers.json", hub) or {}
        return cls(
            model,
            tokenizer,
            pooling=pooling,
            after=after,
            max_length=settings.get("max_seq_length"),
            prompts=whole.get("prompts"),
            default_prompt_name=whole.get("default_prompt_name"),
            similarity=whole.get("similarity_fn_name") or "cosine",
        )

    @property
    def vector_size(self) -> int:
        """The size of the vectors."""
        size = len(self.pooling) * self.model.config.hidden_size
        for step in self.after:
            size = step.units if isinstance(step, Dense) else size
        return size

    def encode(
        self,
        sentences: str | Sequence[str],
        batch_size: int = 32,
        normalize_embeddings: bool = False,
        convert_to_numpy: bool = True,
        show_progress_bar: bool = False,
        prompt_name: str | None = None,
    ) -> np.ndarray | tf.Tensor:
        """Return the vectors of sentences: float32 [sentences, vector_size].

        Sentences of similar length share a batch, so that little is padded. One graph, traced by
        the first call, serves batches of every size and length.

        Args:
            sentences: texts; a single string gives a single vector [vector_size].
            batch_size: sentences per batch.
            normalize_embeddings: give the vectors the length 1.
            convert_to_numpy: return an array; else a TensorFlow tensor.
            show_progress_bar: write a bar to standard output.
            prompt_name: which of ``prompts`` comes before every sentence.

        Raises:
            TypeError: a sentence is no string.
            ValueError: no such prompt, or ``batch_size`` is not positive.
        """
        texts = [sentences] if isinstance(sentences, str) else list(sentences)
        for i, text in enumerate(texts):
            if not isinstance(text, str):
                raise TypeError(f"sentences[{i}] must be a string, not {type(text).__name__}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        if prompt_name is not None:
            _known(prompt_name, self.prompts, "prompt_name")
        prompt = self.prompts.get(prompt_name or self.default_prompt_name or "", "")
        longest_first = np.argsort([-len(text) for text in texts], kind="stable")
        vectors = np.zeros((len(texts), self.vector_size), np.float32)
        progress = keras.utils.Progbar(len(texts)) if show_progress_bar else None
        for start in range(0, len(texts), batch_size):
            rows = longest_first[start : start + batch_size]
            tokens = self.tokenizer(
                [prompt + texts[row] for row in rows],
                padding=True,
                truncation=True,
                max_length=self.max_length,
                return_tensors="tf",
            )
            vectors[rows] = self._vectors({name: tokens[name] for name in self._signature})
            if progress is not None:
                progress.add(len(rows))
        if normalize_embeddings:
            vectors = normalize(vectors).numpy()
        result = vectors[0] if isinstance(sentences, str) else vectors
        return result if convert_to_numpy else tf.constant(result)

    def export(self, directory: str | os.PathLike[str], **options: Any) -> str:
        """Write the next version of a SavedModel for TF Serving: texts in, vectors out.

        See :func:`tfhf.serving.export_model` for ``options``, and its ``sentence-embeddings`` for
        the signature. The prompt is that of ``default_prompt_name``.
        """
        from tfhf.serving import export_model

        settings: dict[str, Any] = {
            "pooling": self.pooling,
            "after": self.after,
            "max_length": self.max_length,
            "prompt": self.prompts.get(self.default_prompt_name or "", ""),
        }
        return export_model(
            self.model, directory, self.tokenizer, "sentence-embeddings", **settings | options
        )

    def similarity(self, a: Any, b: Any) -> np.ndarray:
        """Compare vectors: float32 [a, b], by the measure that the folder names or the cosine.

        Args:
            a: float [a, vector_size], or a single vector.
            b: float [b, vector_size], or a single vector.
        """
        pair = [np.atleast_2d(np.asarray(vectors, np.float32)) for vectors in (a, b)]
        return self._similarity(*pair)

    def embed(self, tokens: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Return the vectors of tokenized sentences: float32 [batch, vector_size].

        Args:
            tokens: int32 ``input_ids``, ``attention_mask``, … [batch, length].
        """
        inputs = {name: tokens[name] for name in self._signature}
        states = tf.cast(self.model(**inputs, return_dict=True).last_hidden_state, tf.float32)
        seen = tf.cast(tokens["attention_mask"], tf.float32)
        vectors = tf.concat([POOLINGS[name](states, seen) for name in self.pooling], axis=-1)
        for step in self.after:
            vectors = step(vectors)
        return vectors


def _known(name: str, names: Mapping[str, Any], argument: str) -> str:
    if name not in names:
        raise ValueError(f"{argument} must be one of {', '.join(names) or 'none'}, not {name!r}")
    return name


def _read_json(name: str, file: str, hub: dict[str, Any]) -> Any:
    """Return what a file of a folder or repository holds, or ``None`` where there is none."""
    path = find_file(name, file, **hub)
    if path is None:
        return None
    with open(path, encoding="utf-8") as stream:
        try:
            return json.load(stream)
        except ValueError as error:
            raise CorruptCheckpointError(f"{path} is no JSON: {error}") from error


def _module_kind(module: Mapping[str, str]) -> str:
    package, _, kind = module["type"].rpartition(".")
    if package.split(".")[0] != "sentence_transformers":
        raise ValueError(f"the module {module['type']!r} has code of its own, which is never run")
    return kind


def _module_place(
    name: str, module: Mapping[str, str], hub: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return where a module's files are: a folder, or a repository and the options for it."""
    path = PurePosixPath(module["path"])
    if path.is_absolute() or ".." in path.parts:
        raise UnsafeCheckpointError(f"modules.json of {name} names a folder elsewhere: {path}")
    if os.path.isdir(name):
        return os.path.join(name, path), hub
    return name, hub | {"subfolder": module["path"]}


def _pooling_modes(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Read the modes from either spelling: ``pooling_mode``, or a boolean for each."""
    if not config.get("include_prompt", True):
        raise ValueError("a Pooling module with include_prompt=False is not supported")
    if modes := config.get("pooling_mode"):
        return (modes,) if isinstance(modes, str) else tuple(modes)
    flags = {
        mode: f"pooling_mode_{mode}{'_tokens' if mode in ('max', 'mean', 'weightedmean') else ''}"
        for mode in POOLINGS
    } | {"cls": "pooling_mode_cls_token"}
    return tuple(mode for mode, flag in flags.items() if config.get(flag)) or ("mean",)


def _read_dense(root: str, hub: dict[str, Any]) -> Dense:
    config = _read_json(root, "config.json", hub) or {}
    vectors = "sentence_embedding"
    supported = {"use_residual": False, "module_input_name": vectors, "module_output_name": vectors}
    for option, value in supported.items():
        if config.get(option, value) != value:
            raise ValueError(f"a Dense module with {option}={config[option]!r} is not supported")
    activation = config.get("activation_function", "torch.nn.modules.activation.Tanh")
    kind = _known(activation.rpartition(".")[2], ACTIVATIONS, "activation_function")
    layer = Dense(
        config["in_features"],
        config["out_features"],
        activation=get_tf_activation(ACTIVATIONS[kind]),
        use_bias=config.get("bias", True),
    )
    layer.build()
    with open_checkpoint(find_weights(root, **hub)) as checkpoint:
        for variable, name in zip(layer.weights, ("linear.weight", "linear.bias")):
            if name not in checkpoint:
                raise CorruptCheckpointError(f"{checkpoint.path} has no tensor {name!r}")
            variable.assign(checkpoint[name].T.astype(np.float32))
    return layer


def _lower_case(tokenizer: PreTrainedTokenizerBase) -> None:
    """Have a tokenizer lower texts before all else that it does to them."""
    if not tokenizer.is_fast:
        raise ValueError(f"do_lower_case: {type(tokenizer).__name__} is no fast tokenizer")
    backend = tokenizer.backend_tokenizer
    then = [] if backend.normalizer is None else [backend.normalizer]
    backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *then])
