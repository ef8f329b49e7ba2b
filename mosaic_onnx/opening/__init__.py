"""Opening untrusted models: the parts behind ``model.open_model``, most of them run in a limited child process."""
