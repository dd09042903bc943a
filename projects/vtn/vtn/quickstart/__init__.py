"""The quickstart: a data set of real video files that only an order-aware model can read, and the runs on it.

``photographs`` → ``motion`` (pure plans) → ``scene`` (frames) → ``dataset`` (H.264 files and csv) →
``run`` (training, tests, baseline, report).
"""
