"""Reads the store: statistics, tables and boards. Never runs a method."""
