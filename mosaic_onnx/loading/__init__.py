"""Open untrusted models, most of the work in a limited child process, and make their inputs."""
