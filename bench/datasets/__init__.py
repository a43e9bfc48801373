"""Data sets: one module for each official layout, and the phantoms that are written in those layouts."""
