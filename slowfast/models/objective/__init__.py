"""The training objective: a loss with class weights, logit adjustment and label smoothing."""
