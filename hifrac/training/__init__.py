"""How a model is made from the data directory: samples, folds, fit, evaluation."""
