"""Nets that are scored on rows they never saw: inputs, folds, training, scores."""
