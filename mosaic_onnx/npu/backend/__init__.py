"""The NPU as a device: costs from the exact search, outputs at the NPU's precision, times waited for. Simulated."""
