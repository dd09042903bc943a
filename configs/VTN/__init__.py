"""The configurations that ship with VTN, as package data (``vtn.configs``)."""
