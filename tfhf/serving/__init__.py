"""SavedModels for TensorFlow Serving: text in, answer out, without Python."""

from tfhf.serving.export import export_model
from tfhf.serving.operations import op_libraries, operations_of

__all__ = ["export_model", "op_libraries", "operations_of"]
