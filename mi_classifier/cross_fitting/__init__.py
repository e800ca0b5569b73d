"""Cross-fitting: inputs and folds, the training of the nets, and their scores."""
