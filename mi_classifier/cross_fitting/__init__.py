"""Cross-fitting: the inputs and their folds, the plan, and the nets."""
