"""Metrics by the names of the Hub, computed by libraries at hand: nothing is downloaded."""

from tfhf.metrics.f1_score import F1Score
from tfhf.metrics.load import load_metric
from tfhf.metrics.metric import Metric

__all__ = ["F1Score", "Metric", "load_metric"]
