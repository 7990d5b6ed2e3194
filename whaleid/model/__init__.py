"""The network: from photos to embeddings and class logits, and back from a file."""
