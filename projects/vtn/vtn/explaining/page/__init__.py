"""An explanation as a page, a figure and a table of values."""
