"""Functions on ONNX graphs: order, keys of nodes, inputs and outputs, sizes of tensors, facts of layers."""
