"""An NPU that can be designed: hardware as a file, exact dataflow search, costs in cycles, seconds and joules.

Everything here is an emulation: no figure is a measurement of real hardware.

Typical use: ``hardware = load_hardware("eyeriss")``; ``layers = layers_of_model(model, hardware)``;
``best_dataflow(layers.layers[0], hardware)`` for one layer in its best dataflow, ``map_model(layers, hardware)`` for
all of them.
"""

from mosaic_onnx.npu.costs.evaluate import Cost, Objective, evaluate
from mosaic_onnx.npu.costs.mapping import Mapping
from mosaic_onnx.npu.costs.simulate import simulate
from mosaic_onnx.npu.hardware.description import Hardware
from mosaic_onnx.npu.hardware.file import hardware_from_toml, load_hardware, preset_names
from mosaic_onnx.npu.layers.csv_file import read_layers
from mosaic_onnx.npu.layers.model import layers_of_model, read_model
from mosaic_onnx.npu.layers.nest import LoopNest, ModelLayers, NpuLayer, Refused, VectorWork
from mosaic_onnx.npu.model_map import ModelMap, map_model
from mosaic_onnx.npu.search.certificate import Certificate
from mosaic_onnx.npu.search.dataflow import DATAFLOWS, Result, best_dataflow
from mosaic_onnx.npu.search.fixed import FIXED

__all__ = [
    "DATAFLOWS",
    "FIXED",
    "Certificate",
    "Cost",
    "Hardware",
    "LoopNest",
    "Mapping",
    "ModelLayers",
    "ModelMap",
    "NpuLayer",
    "Objective",
    "Refused",
    "Result",
    "VectorWork",
    "best_dataflow",
    "evaluate",
    "hardware_from_toml",
    "layers_of_model",
    "load_hardware",
    "map_model",
    "preset_names",
    "read_layers",
    "read_model",
    "simulate",
]
