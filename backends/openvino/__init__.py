"""OpenVINO's own runtime."""
