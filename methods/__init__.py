"""Reconstruction methods, one folder each; the registry finds them by name."""
