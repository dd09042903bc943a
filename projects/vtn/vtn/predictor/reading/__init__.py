"""Reading of many videos ahead of the model, in threads or in processes that may hang or crash."""
