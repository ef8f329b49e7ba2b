"""Decoders and machines described by published figures, as profiles: offloading before anything is bought."""
