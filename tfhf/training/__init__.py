"""Training: the optimizer with its schedule, metrics, callbacks."""

from tfhf.training.callbacks import KerasMetricCallback
from tfhf.training.metrics import F1Score
from tfhf.training.optimizers import NO_WEIGHT_DECAY, AdamWeightDecay, create_optimizer
from tfhf.training.schedules import WarmUp

__all__ = [
    "NO_WEIGHT_DECAY",
    "AdamWeightDecay",
    "F1Score",
    "KerasMetricCallback",
    "WarmUp",
    "create_optimizer",
]
