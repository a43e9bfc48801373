"""Suites of frozen pretrained networks: loading, building the small one, and generators that several methods share."""
