"""WarmUp: its values, inside graphs too, and its serialization."""

import keras
import pytest
import tensorflow as tf

from tfhf.training import WarmUp


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
