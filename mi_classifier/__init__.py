"""A neural-network classifier is a mutual-information estimator."""
