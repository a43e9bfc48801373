"""What others' encoders share: brain data to a generator's text tokens and to CLIP's embeddings."""
