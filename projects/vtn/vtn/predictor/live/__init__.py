"""Sources without an end, such as cameras, whose frames are scored as they come."""
