"""Phantoms: synthetic data of known content, written to disk in the official layouts."""
