"""Metrics: pure functions of two videos. Imports nothing of this project."""
