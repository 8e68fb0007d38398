"""WarmUp: its values, inside graphs too, and its serialization."""

import keras
import pytest
import tensorflow as tf

from tfhf.training import WarmUp
from tfhf.training.schedules import PerUpdate, get_scheduler


@pytest.mark.parametrize("power", [1.0, 2.0, 0.5])
def test_values_in_eager_and_graph_mode(power):
    decay = keras.optimizers.schedules.CosineDecay(0.5, decay_steps=20)
    schedule = WarmUp(0.5, decay, warmup_steps=5, power=power)
    graph = tf.function(schedule)
    for step in range(30):
        rising = 0.5 * (step / 5) ** power
        expected = rising if step < 5 else float(decay(step - 5))
        assert float(schedule(step)) == pytest.approx(expected, rel=1e-6, abs=1e-9)
        in_graph = float(graph(tf.constant(step, tf.int64)))
        assert in_graph == pytest.approx(expected, rel=1e-6, abs=1e-7)


def test_decay_sees_no_negative_step():
    seen = []
    WarmUp(1.0, lambda step: seen.append(int(step)) or 1.0, warmup_steps=5)(2)
    assert seen == [0]


def test_serialization():
    decay = keras.optimizers.schedules.PolynomialDecay(0.5, 20, end_learning_rate=0.1, power=2.0)
    schedule = WarmUp(0.5, decay, warmup_steps=5, power=3.0, name="rise")
    config = keras.saving.serialize_keras_object(schedule)
    copy = keras.saving.deserialize_keras_object(config)
    assert copy.get_config() == schedule.get_config()
    assert [float(copy(step)) for step in (0, 3, 5, 12, 99)] == [
        float(schedule(step)) for step in (0, 3, 5, 12, 99)
    ]


@pytest.mark.parametrize("steps", [0, -3])
def test_warm_up_of_no_steps_is_refused(steps):
    with pytest.raises(ValueError, match=f"warmup_steps .* {steps}"):
        WarmUp(1.0, lambda step: 1.0, warmup_steps=steps)


CASES = [
    ("linear", 0, 37, {}),
    ("linear", 5, 37, {}),
    ("cosine", 5, 37, {}),
    ("cosine", 0, 40, {"num_cycles": 1.25}),
    ("cosine_with_restarts", 4, 37, {"num_cycles": 3}),
    ("polynomial", 5, 37, {}),
    ("polynomial", 3, 20, {"lr_end": 0.03, "power": 2.5}),
    ("constant", 5, None, {}),
    ("constant_with_warmup", 5, None, {}),
    ("inverse_sqrt", 5, None, {}),
    ("inverse_sqrt", 0, None, {}),
    ("inverse_sqrt", 7, None, {"timescale": 11}),
]


@pytest.mark.oracle
@pytest.mark.parametrize(("name", "warmup", "steps", "options"), CASES)
def test_every_schedule_is_that_of_transformers(name, warmup, steps, options):
    import torch
    from transformers import get_scheduler as torch_scheduler

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.7)
    reference = torch_scheduler(name, optimizer, warmup, steps, options)
    schedule = get_scheduler(name, 0.7, warmup, steps, options)
    graph = tf.function(schedule)
    for step in range(45):
        expected = optimizer.param_groups[0]["lr"]
        assert float(schedule(step)) == pytest.approx(expected, rel=0, abs=1e-7)
        in_graph = float(graph(tf.constant(step, tf.int64)))
        assert in_graph == pytest.approx(expected, rel=0, abs=1e-7)
        optimizer.step()
        reference.step()


@pytest.mark.parametrize(("name", "warmup", "steps", "options"), CASES[::3])
def test_schedulers_are_serialized(name, warmup, steps, options):
    schedule = PerUpdate(get_scheduler(name, 0.7, warmup, steps, options), 3)
    config = keras.saving.serialize_keras_object(schedule)
    copy = keras.saving.deserialize_keras_object(config)
    assert [float(copy(step)) for step in range(60)] == [
        float(schedule(step)) for step in range(60)
    ]


def test_a_late_step_of_a_long_training_has_its_own_learning_rate():
    schedule = get_scheduler("linear", 1.0, 0, 20_000_000)
    assert float(schedule(19_999_999)) == pytest.approx(5e-8, rel=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("linaer", 1.0, 0, 5), "linaer"),
        (("linear", 1.0), "num_training_steps must be given"),
        (("linear", 1.0, -1, 5), "num_warmup_steps .* -1"),
        (("cosine", 1.0, 0, 5, {"power": 2}), "'power'"),
        (("polynomial", 1e-7, 0, 5), "lr_end must be below init_lr"),
    ],
)
def test_a_scheduler_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        get_scheduler(*arguments)
