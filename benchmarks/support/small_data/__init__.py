"""Settings and data sets of the study of SMALL_DATA (``benchmarks/learning/small_data.py``)."""
