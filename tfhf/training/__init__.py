"""Training: arguments, Trainer, and its parts for a plain ``fit``."""

from tfhf.metrics import F1Score
from tfhf.training.arguments import Seq2SeqTrainingArguments, TrainingArguments
from tfhf.training.callbacks import EarlyStoppingCallback, KerasMetricCallback
from tfhf.training.checkpoints import TrainingCheckpoint, get_last_checkpoint
from tfhf.training.chosen_optimizer import Adafactor
from tfhf.training.evaluation import EvalPrediction, PredictionOutput
from tfhf.training.failures import StopOnBadLoss
from tfhf.training.label_smoothing import LabelSmoother
from tfhf.training.optimizers import (
    NO_WEIGHT_DECAY,
    AdamWeightDecay,
    create_optimizer,
    layerwise_lr_decay,
)
from tfhf.training.progress import ProgressLine
from tfhf.training.schedules import WarmUp, get_scheduler
from tfhf.training.seq2seq_trainer import Seq2SeqTrainer
from tfhf.training.state import TrainerState
from tfhf.training.tensorboard import TensorBoardExamples
from tfhf.training.trainer import Trainer

__all__ = [
    "NO_WEIGHT_DECAY",
    "Adafactor",
    "AdamWeightDecay",
    "EarlyStoppingCallback",
    "EvalPrediction",
    "F1Score",
    "KerasMetricCallback",
    "LabelSmoother",
    "PredictionOutput",
    "ProgressLine",
    "Seq2SeqTrainer",
    "Seq2SeqTrainingArguments",
    "StopOnBadLoss",
    "TensorBoardExamples",
    "Trainer",
    "TrainerState",
    "TrainingArguments",
    "TrainingCheckpoint",
    "WarmUp",
    "create_optimizer",
    "get_last_checkpoint",
    "get_scheduler",
    "layerwise_lr_decay",
]
