"""Checkpoints: weight files -> NumPy arrays under PyTorch names, and back.

==================== =========================================================================
`locate`             a folder or Hub id -> the path of its weight file (downloads and caches)
`reader`             the path of a weight file or index -> a `Checkpoint`
`checkpoint`         what a `Checkpoint` is, and the two errors that reading one can raise
`safetensors_file`   `model.safetensors`
`torch_file`         `pytorch_model.bin`, read without torch by the unpickler of `torch_pickle`
`h5_file`            `tf_model.h5`, its variables renamed by `keras_names`
`writer`             arrays -> `model.safetensors`, sharded where it is large
`atomic`             folders and files that are replaced as a whole or not at all
`weight_table`       PyTorch parameters <-> Keras variables of one architecture
`pretrained`         models from checkpoints and back, with all of the above
==================== =========================================================================
"""
