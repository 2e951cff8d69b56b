"""Networks in ONNX files: read as PyTorch modules, and written back.

The packages that this needs (onnx, onnxruntime, onnx2torch) are imported only where a file is read: the extra ``onnx``.
"""

from stripe.onnx.file import OnnxFile, Tensors, read
from stripe.onnx.network import load, verify
from stripe.onnx.writing import Comparison, compare, write

__all__ = ["Comparison", "OnnxFile", "Tensors", "compare", "load", "read", "verify", "write"]
