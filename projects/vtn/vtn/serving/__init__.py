"""A web page and an endpoint that classify videos: ``vtn serve``."""
