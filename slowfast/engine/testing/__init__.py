"""Testing of a trained model, and what a test answers beyond the accuracy."""
