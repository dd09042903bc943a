"""Explanations of predictions: attention of the model, influence of each frame, and the agreement of both."""
