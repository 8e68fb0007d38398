"""load_metric: from the name of a metric to the metric."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tfhf.metrics import classification, entities, generated_text, perplexity, squad
from tfhf.metrics.metric import Metric

_METRICS: dict[str, Callable[..., dict[str, Any]]] = {
    "accuracy": classification.accuracy,
    "f1": classification.f1,
    "matthews_correlation": classification.matthews_correlation,
    "pearsonr": classification.pearsonr,
    "perplexity": perplexity.perplexity,
    "precision": classification.precision,
    "recall": classification.recall,
    "rouge": generated_text.rouge,
    "sacrebleu": generated_text.sacrebleu,
    "seqeval": entities.seqeval,
    "spearmanr": classification.spearmanr,
    "squad": squad.squad,
    "squad_v2": squad.squad_v2,
}


def load_metric(path: str, config_name: str | None = None, **settings: Any) -> Metric:
    """Return a metric by its name on the Hub; nothing is fetched from there.

    Names, settings and results are those of the ``evaluate`` library.

    Args:
        path: ``"accuracy"``, ``"f1"``, ``"precision"``, ``"recall"``,
            ``"matthews_correlation"``, ``"pearsonr"``, ``"spearmanr"``, ``"glue"``, ``"seqeval"``,
            ``"squad"``, ``"squad_v2"``, ``"rouge"``, ``"sacrebleu"`` or ``"perplexity"``.
        config_name: the task, of "glue": "cola", "mrpc", "sst2", ….
        **settings: what ``compute`` gets, unless it is told otherwise there.

    Returns:
        A :class:`Metric`, which has ``compute``, ``add`` and ``add_batch``.

    Raises:
        ValueError: there is no such metric, or GLUE has no such task.

    Example:
        >>> metric = load_metric("glue", "mrpc")
        >>> metric.compute(predictions=[1, 0, 1, 1], references=[1, 0, 0, 1])
        {'accuracy': 0.75, 'f1': 0.8}
    """
    if path == "glue":
        tasks = classification.GLUE
        if config_name not in tasks:
            raise ValueError(f"config_name of glue must be one of {[*tasks]}, not {config_name!r}")
        return Metric(f"glue/{config_name}", partial(tasks[config_name], **settings))
    if path not in _METRICS:
        known = sorted([*_METRICS, "glue"])
        raise ValueError(f"path must be the name of a metric, one of {known}, not {path!r}")
    if config_name is not None:
        raise ValueError(f"config_name is for glue only, but {path} came with {config_name!r}")
    function = partial(_METRICS[path], **settings)
    return Metric(path, function, needs_references=path != "perplexity")
