"""Seq2SeqTrainer: evaluation of what a model writes."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfhf.training.arguments import Seq2SeqTrainingArguments
from tfhf.training.callbacks import padding_token
from tfhf.training.evaluation import Evaluation, Predict, evaluate_dataset
from tfhf.training.trainer import Trainer


class Seq2SeqTrainer(Trainer):
    """:class:`~tfhf.Trainer` that can evaluate what ``generate`` writes.

    With ``args.predict_with_generate``, predictions are token ids, filled up with the padding
    token; ``generation_max_length`` and ``generation_num_beams`` are passed on, other settings are
    those of the model's ``generation_config``. The arguments are those of Trainer.

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

    def _evaluate(self, data: tf.data.Dataset, keep_predictions: bool) -> Evaluation:
        args = self.args
        if (
            not isinstance(args, Seq2SeqTrainingArguments)
            or not args.predict_with_generate
            or not keep_predictions
        ):
            return super()._evaluate(data, keep_predictions)
        settings = {
            "max_length": args.generation_max_length,
            "num_beams": args.generation_num_beams,
        }
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
