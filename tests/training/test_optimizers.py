"""AdamWeightDecay and create_optimizer against a reference in NumPy and against PyTorch."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfhf.training import NO_WEIGHT_DECAY, AdamWeightDecay, create_optimizer

STEPS = 100
SHAPES = {"dense/kernel": (5, 3), "dense/bias": (3,), "norm/gamma": (3,), "scalar": ()}


def reference_adamw(
    weights,
    gradients,
    learning_rate,
    beta_1=0.9,
    beta_2=0.999,
    epsilon=1e-8,
    decay=0.0,
    undecayed=(),
    global_clipnorm=None,
    amsgrad=False,
    accumulation=1,
):
    """Return the weights after all steps: the published algorithm, in float64.

    ``gradients`` is a list of dictionaries, one per step; ``learning_rate`` a function of the step.
    """
    weights = {name: np.asarray(value, np.float64) for name, value in weights.items()}
    m, v, largest = ({name: 0.0 for name in weights} for _ in range(3))
    for update in range(len(gradients) // accumulation):
        batches = gradients[update * accumulation : (update + 1) * accumulation]
        mean = {name: sum(np.float64(b[name]) for b in batches) / accumulation for name in weights}
        if global_clipnorm is not None:
            norm = np.sqrt(sum((gradient**2).sum() for gradient in mean.values()))
            scale = min(1.0, global_clipnorm / (norm + 1e-6))
            mean = {name: gradient * scale for name, gradient in mean.items()}
        rate, t = learning_rate((update + 1) * accumulation - 1), update + 1
        for name, gradient in mean.items():
            m[name] = beta_1 * m[name] + (1 - beta_1) * gradient
            v[name] = beta_2 * v[name] + (1 - beta_2) * gradient**2
            largest[name] = np.maximum(largest[name], v[name])
            second = (largest if amsgrad else v)[name] / (1 - beta_2**t)
            if name not in undecayed:
                weights[name] = weights[name] * (1 - rate * decay)
            weights[name] -= rate * m[name] / (1 - beta_1**t) / (np.sqrt(second) + epsilon)
    return weights


def random_weights():
    return {name: np.float32(np.random.randn(*shape)) for name, shape in SHAPES.items()}


def random_gradients(steps=STEPS):
    """Gradients over six orders of magnitude, some of them exactly zero."""
    sizes = 10.0 ** np.random.uniform(-4, 2, steps)
    return [
        {
            name: np.float32(size * np.random.randn(*shape) * (np.random.rand(*shape) > 0.1))
            for name, shape in SHAPES.items()
        }
        for size in sizes
    ]


def make_variable(value, path, dtype="float32"):
    with contextlib.ExitStack() as stack:
        *scopes, name = path.split("/")
        for scope in scopes:
            stack.enter_context(keras.name_scope(scope))
        return keras.Variable(value, dtype=dtype, name=name)


def train(optimizer, weights, gradients, mode="graph", dtype="float32"):
    variables = [make_variable(value, path, dtype) for path, value in weights.items()]
    optimizer.build(variables)

    def step(values):
        optimizer.apply(values, variables)

    if mode != "eager":
        step = tf.function(step, jit_compile=mode == "xla", autograph=False)
    for values in gradients:
        step([tf.constant(values[name], dtype) for name in weights])
    return {name: variable.numpy() for name, variable in zip(weights, variables)}


def assert_close(actual, expected, atol=1e-5):
    for name in expected:
        np.testing.assert_allclose(actual[name], expected[name], rtol=0, atol=atol, err_msg=name)


@pytest.mark.parametrize("mode", ["graph", "eager", "xla"])
@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        ({}, {}),
        ({"weight_decay_rate": 0.1}, {"decay": 0.1}),
        (
            {"global_clipnorm": 1.0, "weight_decay_rate": 0.1},
            {"global_clipnorm": 1.0, "decay": 0.1},
        ),
        ({"amsgrad": True, "weight_decay_rate": 0.1}, {"amsgrad": True, "decay": 0.1}),
        ({"gradient_accumulation_steps": 4}, {"accumulation": 4}),
        (
            {"gradient_accumulation_steps": 3, "global_clipnorm": 0.5, "weight_decay_rate": 0.1},
            {"accumulation": 3, "global_clipnorm": 0.5, "decay": 0.1},
        ),
        ({"beta_1": 0.0, "beta_2": 0.5}, {"beta_1": 0.0, "beta_2": 0.5}),
        ({"epsilon": 0.1}, {"epsilon": 0.1}),
        ({"epsilon": 0.1, "amsgrad": True}, {"epsilon": 0.1, "amsgrad": True}),
        ({"epsilon": 0.1, "loss_scale_factor": 0.25}, {"epsilon": 0.025}),
    ],
    ids=[
        "adam",
        "decay",
        "clip",
        "amsgrad",
        "accumulate",
        "accumulate-clip",
        "betas",
        "epsilon",
        "epsilon-amsgrad",
        "loss-scale",
    ],
)
def test_equals_the_reference(arguments, changes, mode):
    weights, gradients = random_weights(), random_gradients()
    optimizer = AdamWeightDecay(0.01, **{"epsilon": 1e-8, **arguments})
    expected = reference_adamw(weights, gradients, lambda step: 0.01, **changes)
    assert_close(train(optimizer, weights, gradients, mode), expected)


@pytest.mark.parametrize("size", [0.0, 1e-6, 1.0, 1e15])
def test_clipping_of_tiny_zero_and_huge_gradients(size):
    weights = {"dense/kernel": np.zeros(3, np.float32)}
    gradients = [{"dense/kernel": np.float32([3, 0, -4]) * np.float32(size)}]
    arguments = {"epsilon": 1e-6, "global_clipnorm": 1e-6}
    expected = reference_adamw(weights, gradients, lambda step: 1.0, **arguments)
    assert_close(train(AdamWeightDecay(1.0, **arguments), weights, gradients), expected)


def test_schedule_and_exclusions_of_create_optimizer_equal_the_reference():
    weights, gradients = random_weights(), random_gradients()
    optimizer, schedule = create_optimizer(
        0.01, STEPS, 10, min_lr_ratio=0.1, weight_decay_rate=0.5, adam_global_clipnorm=1.0
    )

    def learning_rate(step):
        return 0.01 * (step / 10 if step < 10 else 0.1 + 0.9 * (1 - (step - 10) / 90))

    for step in (0, 1, 9, 10, 11, 55, 99):
        assert float(schedule(step)) == pytest.approx(learning_rate(step), rel=1e-5)
    expected = reference_adamw(
        weights,
        gradients,
        learning_rate,
        decay=0.5,
        undecayed=("dense/bias", "norm/gamma"),
        global_clipnorm=1.0,
    )
    assert_close(train(optimizer, weights, gradients), expected)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_moments_of_low_precision_variables_are_float32(dtype):
    weights, gradients = random_weights(), random_gradients(steps=50)
    gradients = [
        {name: np.asarray(tf.cast(tf.cast(g, dtype), tf.float32)) for name, g in step.items()}
        for step in gradients
    ]
    weights = {
        name: np.asarray(tf.cast(tf.cast(w, dtype), tf.float32)) for name, w in weights.items()
    }
    optimizer = AdamWeightDecay(0.05, weight_decay_rate=0.1)
    actual = train(optimizer, weights, gradients, dtype=dtype)
    assert {v.dtype for v in (*optimizer._momentums, *optimizer._velocities)} == {"float32"}
    expected = reference_adamw(weights, gradients, lambda step: 0.05, epsilon=1e-7, decay=0.1)
    # Each step rounds weights of up to 4 once: by at most 2 ** -9 of them, up and down.
    assert_close({n: a.astype(np.float32) for n, a in actual.items()}, expected, atol=0.1)


def test_float64_variables():
    weights, gradients = random_weights(), random_gradients()
    actual = train(AdamWeightDecay(0.01, epsilon=1e-8), weights, gradients, dtype="float64")
    assert_close(actual, reference_adamw(weights, gradients, lambda step: 0.01))


def test_repeated_ids_are_summed_before_squaring_and_clipping():
    table = np.random.randn(7, 4).astype(np.float32)
    ids = np.random.randint(0, 5, (STEPS, 9))  # rows 5 and 6 are never read; others repeatedly
    pulls = np.random.randn(STEPS, 9, 4).astype(np.float32)
    variable = keras.Variable(table)
    optimizer = AdamWeightDecay(0.01, epsilon=1e-8, weight_decay_rate=0.1, global_clipnorm=2.0)
    optimizer.build([variable])

    @tf.function
    def step(ids, pull):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.gather(variable, ids) * pull)
        gradients = tape.gradient(loss, [variable.value])
        assert isinstance(gradients[0], tf.IndexedSlices)
        optimizer.apply(gradients, [variable])

    dense = np.zeros((STEPS, *table.shape))
    for i in range(STEPS):
        step(tf.constant(ids[i]), tf.constant(pulls[i]))
        np.add.at(dense[i], ids[i], pulls[i])
    expected = reference_adamw(
        {"table": table},
        [{"table": gradient} for gradient in dense],
        lambda step: 0.01,
        decay=0.1,
        global_clipnorm=2.0,
    )
    assert_close({"table": variable.numpy()}, expected)


@pytest.mark.parametrize(
    ("path", "decays"),
    [
        ("bert/embeddings/norm/gamma", False),
        ("bert/encoder/layer_0/attention_norm/beta", False),
        ("bert/encoder/layer_0/attention/qkv/kernel", True),
        ("bert/encoder/layer_0/attention/qkv/bias", False),
        ("bert/embeddings/token/embeddings", True),
        ("bert/encoder/layer_._0/attention/output/LayerNorm/gamma", False),
        ("transformer/layer_norm/weight", False),
        ("layer_normalization_3/beta", False),
        ("rms_normalization/scale", False),
        ("classifier/kernel", True),
    ],
)
def test_biases_and_norms_are_not_decayed(path, decays):
    variable = make_variable(1.0, path)
    optimizer, _ = create_optimizer(0.1, 10, 0, weight_decay_rate=0.5)
    optimizer.apply([tf.constant(0.0)], [variable])
    assert float(variable) == pytest.approx(0.95 if decays else 1.0)


def test_included_patterns_win_over_excluded_ones():
    weights = {name: np.ones(shape, np.float32) for name, shape in SHAPES.items()}
    zeros = [{name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}]
    optimizer = AdamWeightDecay(
        0.1,
        weight_decay_rate=0.5,
        include_in_weight_decay=["norm/g.mma"],
        exclude_from_weight_decay=NO_WEIGHT_DECAY,
    )
    means = {name: value.mean() for name, value in train(optimizer, weights, zeros).items()}
    expected = {"dense/kernel": 0.95, "dense/bias": 1.0, "norm/gamma": 0.95, "scalar": 0.95}
    assert means == pytest.approx(expected)


def test_keras_exclude_from_weight_decay_is_honoured():
    optimizer = AdamWeightDecay(0.1, weight_decay_rate=0.5)
    optimizer.exclude_from_weight_decay(var_names=["gamma"])
    weights = {name: np.ones(shape, np.float32) for name, shape in SHAPES.items()}
    zeros = [{name: np.zeros(shape, np.float32) for name, shape in SHAPES.items()}]
    trained = train(optimizer, weights, zeros)
    assert trained["norm/gamma"].mean() == pytest.approx(1.0)
    assert trained["dense/kernel"].mean() == pytest.approx(0.95)


def test_variables_without_gradient_stay():
    variables = [make_variable([1.0, 2.0], "a/kernel"), make_variable([3.0], "b/kernel")]
    optimizer = AdamWeightDecay(0.1, weight_decay_rate=0.5)
    optimizer.build(variables)
    with pytest.warns(UserWarning, match="b/kernel"):
        optimizer.apply([tf.constant([1.0, 1.0]), None], variables)
    assert variables[1].numpy() == [3.0]
    assert all(variables[0].numpy() < [1, 2])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AdamWeightDecay(0.1, weight_decay=0.1), "weight_decay_rate"),
        (lambda: AdamWeightDecay(0.1, beta_2=1.0), "beta_2 .* 1.0"),
        (lambda: AdamWeightDecay(0.1, clipnorm=1.0, global_clipnorm=1.0), "clipnorm"),
        (lambda: AdamWeightDecay(0.1, momentum=0.9), "momentum"),
        (lambda: create_optimizer(0.1, 10, 10), "num_warmup_steps = 10"),
        (lambda: create_optimizer(0.1, 0, 0), "num_train_steps = 0"),
        (lambda: create_optimizer(0.1, 10, -1), "num_warmup_steps = -1"),
    ],
)
def test_arguments_that_cannot_be_right(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.oracle
@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("accumulation", [None, 2])
def test_equals_pytorch_over_100_updates(amsgrad, clip, accumulation):
    import torch

    every = accumulation or 1
    weights, gradients = random_weights(), random_gradients(STEPS * every)
    optimizer, schedule = create_optimizer(
        0.01,
        num_train_steps=STEPS * every,
        num_warmup_steps=10,
        weight_decay_rate=0.1,
        adam_global_clipnorm=clip,
    )
    config = optimizer.get_config() | {
        "amsgrad": amsgrad,
        "gradient_accumulation_steps": accumulation,
    }
    actual = train(AdamWeightDecay.from_config(config), weights, gradients)

    parameters = {name: torch.nn.Parameter(torch.tensor(w)) for name, w in weights.items()}
    groups = [
        {"params": [parameters["dense/kernel"], parameters["scalar"]], "weight_decay": 0.1},
        {"params": [parameters["dense/bias"], parameters["norm/gamma"]], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=0.01, eps=1e-8, amsgrad=amsgrad)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        adamw, lambda update: float(schedule(update * every + every - 1)) / 0.01
    )
    for update in range(STEPS):
        for step in range(update * every, (update + 1) * every):
            for name, parameter in parameters.items():
                share = torch.tensor(gradients[step][name]) / every
                parameter.grad = share if parameter.grad is None else parameter.grad + share
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(parameters.values(), clip)
        adamw.step()
        scheduler.step()
        adamw.zero_grad()
    expected = {name: parameter.detach().numpy() for name, parameter in parameters.items()}
    assert_close(actual, expected)


@pytest.mark.oracle
@pytest.mark.parametrize("warmup", [0, 1, 7])
@pytest.mark.parametrize("ratio", [0.0, 0.2])
def test_schedule_equals_that_of_transformers(warmup, ratio):
    import torch
    from transformers import get_linear_schedule_with_warmup

    _, schedule = create_optimizer(0.1, 50, warmup, min_lr_ratio=ratio)
    sgd = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = get_linear_schedule_with_warmup(sgd, warmup, 50)
    for step in range(50):
        linear = scheduler.get_last_lr()[0]
        expected = linear if step < warmup else 0.1 * ratio + (1 - ratio) * linear
        assert float(schedule(step)) == pytest.approx(expected, rel=1e-5, abs=1e-9)
        sgd.step()
        scheduler.step()
