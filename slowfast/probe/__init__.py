"""The search for the best classifier of cached features: linear baselines, then models of the projects."""
