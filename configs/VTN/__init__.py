"""The configurations shipped with VTN, as package data (``vtn.configs``)."""
