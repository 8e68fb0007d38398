"""The optimizers beside AdamW, learning rates by layer, and smoothed labels."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from training_data import make_model, make_rows, make_trainer, pad

from tfhf.training import (
    Adafactor,
    AdamWeightDecay,
    LabelSmoother,
    TrainingArguments,
    layerwise_lr_decay,
)
from tfhf.training.chosen_optimizer import make_optimizer


def walk(optimizer, start, gradients, apply):
    """Return the weights after all gradients."""
    variables = [keras.Variable(value) for value in start]
    for step in gradients:
        apply(optimizer, step, variables)
    return [variable.numpy() for variable in variables]


def random_problem(steps=30):
    rng = np.random.default_rng(3)
    start = [np.float32(rng.normal(size=shape)) for shape in ((5, 3), (4,), (2, 3, 4))]
    gradients = [
        [np.float32(rng.normal(size=w.shape) * 10 ** rng.uniform(-3, 1)) for w in start]
        for _ in range(steps)
    ]
    return start, gradients


@pytest.mark.oracle
@pytest.mark.parametrize("scale_parameter", [True, False])
def test_adafactor_is_that_of_transformers(scale_parameter):
    import torch
    from transformers.optimization import Adafactor as TorchAdafactor

    start, gradients = random_problem()
    decay = 0.0 if scale_parameter else 0.1  # Transformers scales it, too
    ours = walk(
        Adafactor(
            1e-2, scale_parameter=scale_parameter, relative_step=False, weight_decay=decay or None
        ),
        start,
        gradients,
        lambda optimizer, step, variables: optimizer.apply([*map(tf.constant, step)], variables),
    )
    parameters = [torch.nn.Parameter(torch.tensor(value)) for value in start]
    theirs = TorchAdafactor(
        parameters,
        lr=1e-2,
        scale_parameter=scale_parameter,
        relative_step=False,
        weight_decay=decay,
    )
    for step in gradients:
        for parameter, gradient in zip(parameters, step):
            parameter.grad = torch.tensor(gradient)
        theirs.step()
    for one, other in zip(ours, parameters):
        np.testing.assert_allclose(one, other.detach(), rtol=0, atol=2e-6)


def test_lion_is_the_published_algorithm():
    """Chen et al., 2023, https://arxiv.org/abs/2302.06675, algorithm 2."""
    start, gradients = random_problem()
    args = TrainingArguments(optim="lion", weight_decay=0.1, max_grad_norm=0, adam_beta2=0.99)
    ours = walk(
        make_optimizer(args, 1e-2, keras.Sequential()),
        start,
        gradients,
        lambda optimizer, step, variables: optimizer.apply([*map(tf.constant, step)], variables),
    )
    for i, value in enumerate(start):
        m = np.zeros_like(value)
        for step in gradients:
            direction = np.sign(0.9 * m + 0.1 * step[i]) + 0.1 * value
            value = value - 1e-2 * direction
            m = 0.99 * m + 0.01 * step[i]
        np.testing.assert_allclose(ours[i], value, rtol=0, atol=2e-6)


def test_adafactor_is_serialized():
    optimizer = Adafactor(1e-3, scale_parameter=False, relative_step=False)
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert copy.get_config() == optimizer.get_config()
    assert copy.scale_parameter is False


def test_arguments_arrive():
    args = TrainingArguments(
        adam_beta1=0.8,
        adam_epsilon=1e-5,
        weight_decay=0.2,
        max_grad_norm=0.5,
        use_ema=True,
        ema_momentum=0.9,
        gradient_accumulation_steps=3,
    )
    config = make_optimizer(args, 1e-3, keras.Sequential()).get_config()
    expected = {
        "beta_1": 0.8,
        "epsilon": 1e-5,
        "weight_decay_rate": 0.2,
        "global_clipnorm": 0.5,
        "use_ema": True,
        "ema_momentum": 0.9,
        "gradient_accumulation_steps": 3,
    }
    assert {name: config[name] for name in expected} == expected


def test_lower_layers_learn_more_slowly():
    model = make_model(num_hidden_layers=2)
    optimizer = AdamWeightDecay(
        0.1, weight_decay_rate=0.5, learning_rate_multipliers=layerwise_lr_decay(model, 0.5)
    )
    variables = model.trainable_variables
    before = [variable.numpy() for variable in variables]
    optimizer.apply([tf.ones(variable.shape) for variable in variables], variables)
    expected = {"embeddings/": 0.125, "layer_0/": 0.25, "layer_1/": 0.5}
    for variable, start in zip(variables, before):
        part = next((part for part in expected if part in variable.path), "")
        rate = 0.1 * expected.get(part, 1.0)
        after = start * (1 - rate * 0.5) - rate  # the first step of Adam has size 1
        np.testing.assert_allclose(variable, after, rtol=0, atol=1e-5)
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert copy.get_config() == optimizer.get_config()


@pytest.mark.oracle
@pytest.mark.parametrize("shift", [True, False])
def test_smoothed_labels_are_those_of_transformers(shift):
    import torch
    from transformers.trainer_pt_utils import LabelSmoother as TorchSmoother

    rng = np.random.default_rng(2)
    scores = np.float32(rng.normal(size=(3, 5, 7)) * 3)
    labels = np.where(rng.random((3, 5)) < 0.3, -100, rng.integers(0, 7, (3, 5)))
    expected = TorchSmoother(epsilon=0.2)(
        {"logits": torch.tensor(scores)}, torch.tensor(labels), shift_labels=shift
    )
    loss = LabelSmoother(0.2, shift=shift)
    assert float(loss(labels, scores)) == pytest.approx(float(expected), rel=1e-6)
    assert float(loss(np.full((3, 5), -100), scores)) == 0.0
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert copy.get_config() == loss.get_config()


def test_training_and_evaluation_smooth_labels(tmp_path):
    model = make_model(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    rows = make_rows(4)
    trainer = make_trainer(
        tmp_path, model, rows, rows, label_smoothing_factor=0.2, max_steps=1, learning_rate=1e-30
    )
    tf.config.run_functions_eagerly(True)
    trainer.train()
    logged = trainer.state.log_history[0]["loss"]
    evaluated = trainer.evaluate()["eval_loss"]
    tf.config.run_functions_eagerly(False)
    batch = pad(list(rows))
    expected = float(LabelSmoother(0.2)(batch["labels"], model(batch).logits))
    assert logged == pytest.approx(expected, rel=1e-5)
    assert evaluated == pytest.approx(expected, rel=1e-5)
