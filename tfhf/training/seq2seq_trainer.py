"""Seq2SeqTrainer: evaluation of what a model writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfhf.training.arguments import Seq2SeqTrainingArguments
from tfhf.training.callbacks import padding_token
from tfhf.training.evaluation import Evaluation, Predict, PredictionOutput, evaluate_dataset
from tfhf.training.evaluator import Dataset
from tfhf.training.trainer import Trainer


class Seq2SeqTrainer(Trainer):
    """:class:`~tfhf.Trainer` that can evaluate what ``generate`` writes.

    With ``args.predict_with_generate``, predictions are token ids, filled up with the padding
    token; ``generation_max_length`` and ``generation_num_beams`` are passed on, and what
    ``evaluate`` and ``predict`` are given for ``generate``; other settings are those of the model's
    ``generation_config``. The arguments are those of Trainer.

    Example:
        >>> import tempfile, tfhf
        >>> from transformers import T5Config
        >>> config = T5Config(vocab_size=9, d_model=4, d_kv=2, d_ff=4, num_layers=1, num_heads=1,
        ...                   decoder_start_token_id=0)
        >>> args = Seq2SeqTrainingArguments(tempfile.mkdtemp(), predict_with_generate=True,
        ...                                 generation_max_length=5, report_to="none")
        >>> model = tfhf.TFT5ForConditionalGeneration(config)
        >>> Seq2SeqTrainer(model, args).args.generation_max_length
        5
    """

    _gen_kwargs: Mapping[str, Any] = {}

    def evaluate(
        self,
        eval_dataset: Dataset | Mapping[str, Dataset] | None = None,
        metric_key_prefix: str = "eval",
        **gen_kwargs: Any,
    ) -> dict[str, float]:
        """:meth:`Trainer.evaluate`; ``gen_kwargs`` go to ``generate``: ``max_length=64``."""
        before, self._gen_kwargs = self._gen_kwargs, {**self._gen_kwargs, **gen_kwargs}
        try:
            return super().evaluate(eval_dataset, metric_key_prefix)
        finally:
            self._gen_kwargs = before

    def predict(
        self, test_dataset: Dataset, metric_key_prefix: str = "test", **gen_kwargs: Any
    ) -> PredictionOutput:
        """:meth:`Trainer.predict`; ``gen_kwargs`` go to ``generate``."""
        self._gen_kwargs = gen_kwargs
        try:
            return super().predict(test_dataset, metric_key_prefix)
        finally:
            self._gen_kwargs = {}

    def _evaluate(self, data: tf.data.Dataset, keep_predictions: bool) -> Evaluation:
        args = self.args
        generates = isinstance(args, Seq2SeqTrainingArguments) and args.predict_with_generate
        if self._gen_kwargs and not generates:
            raise ValueError(
                f"{', '.join(self._gen_kwargs)}: this is for generate, which only "
                "args.predict_with_generate calls"
            )
        if not generates or not keep_predictions:
            return super()._evaluate(data, keep_predictions)
        assert isinstance(args, Seq2SeqTrainingArguments)
        settings = {
            "max_length": args.generation_max_length,
            "num_beams": args.generation_num_beams,
            **self._gen_kwargs,
        }
        if "max_new_tokens" in self._gen_kwargs:
            del settings["max_length"]
        settings = {name: value for name, value in settings.items() if value is not None}
        return evaluate_dataset(
            self.model,
            data,
            self._generation(settings),
            keep_predictions=True,
            preprocess=self.preprocess_logits_for_metrics,
            padding=padding_token(self.model, settings),
        )

    def _generation(self, settings: dict[str, Any]) -> Predict:
        forward = self.forward

        def run(features: dict[str, tf.Tensor], labels: dict[str, tf.Tensor]) -> Any:
            loss = forward(features, labels)[1] if labels else None
            # Those of the decoder tell the answers.
            asked = {name: features[name] for name in features if not name.startswith("decoder_")}
            return self.model.generate(**asked, **settings), loss

        return run
