"""This project's candidates for ``slowfast probe``."""
