"""GLUE with Trainer: any of its tasks, on one device or on many.

    python recipes/glue.py --task mrpc --model bert-base-uncased --num_train_epochs 3

fine-tunes a checkpoint of the Hub with the settings of the Hugging Face course, and is set up to
reach an accuracy of at least 0.85 and an F1 of at least 0.89 on MRPC's validation sentences.
Without a task, it does the same with what is at hand, the demo's MiniLM and film reviews:

    python recipes/glue.py                                            # one device
    python recipes/glue.py --strategy mirrored                        # all GPUs of this host
    tfhf launch --num-workers 2 recipes/glue.py --strategy multi_worker \
        --per_device_train_batch_size 16                              # two processes

Test accuracy on the reviews: 0.860 on one device, on two mirrored ones and in two processes, F1
0.858, 0.860 and 0.860, after 7 minutes of one CPU core. MRPC with bert-base-uncased needs the Hub,
and was not run here.

All arguments of ``tfhf.TrainingArguments`` are options.
"""

import argparse

import numpy as np
from datasets import load_dataset
from film_reviews import checkpoint, film_reviews

import tfhf

#: The columns of each task's sentences.
TASKS = {
    "cola": ["sentence"],
    "mnli": ["premise", "hypothesis"],
    "mrpc": ["sentence1", "sentence2"],
    "qnli": ["question", "sentence"],
    "qqp": ["question1", "question2"],
    "rte": ["sentence1", "sentence2"],
    "sst2": ["sentence"],
    "stsb": ["sentence1", "sentence2"],
    "wnli": ["sentence1", "sentence2"],
}
#: The film reviews are more than the course's sentences, and of lengths that differ more.
FOR_REVIEWS = {
    "num_train_epochs": 2.0,
    "per_device_train_batch_size": 32,
    "group_by_length": True,
}


def main() -> None:
    """Train and judge."""
    options, args = parse_options()

    # 1. Sentences, and how they are judged.
    data = load_dataset("glue", options.task) if options.task else film_reviews()
    columns = TASKS.get(options.task, ["text"])
    metric = tfhf.load_metric("glue", options.task or "mrpc")  # MRPC's: accuracy and F1
    validation = "validation_matched" if options.task == "mnli" else "validation"
    judge = validation if options.task else "test"  # GLUE keeps its tests' labels to itself
    is_regression = options.task == "stsb"
    num_labels = 1 if is_regression else data["train"].features["label"].num_classes

    # 2. Tokens.
    tokenizer = tfhf.AutoTokenizer.from_pretrained(options.model)

    def tokenize(rows):
        sentences = (rows[column] for column in columns)
        return tokenizer(*sentences, truncation=True, max_length=options.max_length)

    data = data.map(tokenize, batched=True)

    # 3. Training.
    def model_init():
        return tfhf.TFAutoModelForSequenceClassification.from_pretrained(
            options.model, num_labels=num_labels
        )

    def compute_metrics(prediction):
        scores = np.asarray(prediction.predictions)
        answers = scores[:, 0] if is_regression else scores.argmax(-1)
        return metric.compute(predictions=answers, references=prediction.label_ids)

    trainer = tfhf.Trainer(
        args=args,
        model_init=model_init,
        train_dataset=data["train"],
        eval_dataset=data[validation],
        processing_class=tokenizer,
        compute_metrics=compute_metrics,
    )
    trainer.train()

    # 4. The judgement.
    scores = trainer.evaluate(data[judge], metric_key_prefix=judge)
    trainer.save_model()
    if trainer.is_chief:
        trainer.log_metrics(judge, scores)
        trainer.save_metrics(judge, scores)
        print(f"devices     {trainer.model.distribute_strategy.num_replicas_in_sync}")
        print(f"checkpoint  {args.output_dir}")


def parse_options() -> tuple[argparse.Namespace, tfhf.TrainingArguments]:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Fine-tune a model on a task of GLUE.")
    parser.add_argument("--task", choices=TASKS, help="default: the demo's film reviews")
    parser.add_argument("--model", help="folder or name on the Hub (default: the demo's MiniLM)")
    parser.add_argument("--max-length", type=int, default=128, help="tokens of a text or a pair")
    own = {action.dest for action in parser._actions}
    tfhf.TrainingArguments.add_arguments(parser)
    options = parser.parse_args()
    given = {name: value for name, value in vars(options).items() if name not in own}
    defaults = {"output_dir": f"runs/{options.task or 'film-reviews'}", "eval_strategy": "epoch"}
    if options.task is None:
        defaults |= FOR_REVIEWS
    options.model = options.model or checkpoint()
    return options, tfhf.TrainingArguments(**(defaults | given))


if __name__ == "__main__":
    main()
