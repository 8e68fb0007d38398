"""What TensorFlow Serving reads beside a SavedModel: how to batch, and what to serve.

Sources, for the names: TF Serving's ``session_bundle_config.proto``, ``model_server_config.proto``.
"""

import os
from collections.abc import Sequence
from pathlib import Path

BATCHING_FILE = "batching_params.pbtxt"
MODELS_FILE = "models.config"

BATCHING = """\
# For --enable_batching, with --batching_parameters_file or --enable_per_model_batching_parameters.
# A request waits so long for others to share its batch.
batch_timeout_micros {{ value: 1000 }}
# The warm-up requests have these sizes; a batch in between is filled up.
max_batch_size {{ value: {largest} }}
{allowed}
# More than these many batches waiting: requests are refused.
max_enqueued_batches {{ value: 100 }}
# Ids of different lengths must not be padded by the server, which does not know the mask.
pad_variable_length_inputs: false
"""

MODELS = """\
# For --model_config_file; several models have several configs in one list.
model_config_list {{
  config {{
    name: "{name}"
    base_path: "/models/{name}"
    model_platform: "tensorflow"
  }}
}}
"""


def write_server_files(
    saved_model: str | os.PathLike[str], name: str, batch_sizes: Sequence[int]
) -> None:
    """Write ``batching_params.pbtxt`` and ``models.config`` into a version folder.

    Args:
        saved_model: The version folder.
        name: The name that the model is served under, in ``/models`` of the server's container.
        batch_sizes: How many rows a batch may have, in ascending order.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_server_files(folder, "films", [1, 8])
        ...     Path(folder, "batching_params.pbtxt").read_text().count("allowed_batch_sizes")
        2
    """
    folder = Path(saved_model)
    allowed = "\n".join(f"allowed_batch_sizes: {size}" for size in batch_sizes)
    batching = BATCHING.format(largest=batch_sizes[-1], allowed=allowed)
    (folder / BATCHING_FILE).write_text(batching, encoding="utf-8")
    (folder / MODELS_FILE).write_text(MODELS.format(name=name), encoding="utf-8")
