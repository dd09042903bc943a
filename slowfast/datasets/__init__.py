"""Video file -> record -> temporal plan -> decoder -> spatial transforms -> Clip -> ClipBatch."""
