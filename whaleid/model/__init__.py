"""The network that maps photos to embeddings and class scores, and its checkpoints."""
