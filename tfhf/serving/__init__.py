"""SavedModels for TensorFlow Serving: text in, answer out, without Python."""

from tfhf.serving.export import export_model
from tfhf.serving.operations import op_libraries, operations_of
from tfhf.serving.serve_check import ServeCheck, serve_check

__all__ = ["ServeCheck", "export_model", "op_libraries", "operations_of", "serve_check"]
