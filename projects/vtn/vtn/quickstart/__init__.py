"""The quickstart: a data set of real video files that needs the order of frames, and runs on it.

``photographs`` → ``motion`` (plans, as pure functions) → ``scene`` (frames) → ``dataset`` (H.264 files, csv
lists) → ``runs`` (training, tests, baseline) → ``results`` (table, report); ``run`` goes through all of them.
"""
