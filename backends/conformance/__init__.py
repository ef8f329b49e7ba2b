"""The conformance suite that any backend author can run against a backend."""
