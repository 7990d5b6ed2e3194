"""From embeddings to ranked names: scores, probabilities, the threshold and how good they are."""
