"""pytorchvideo's networks, which take clips of one length, as models of the framework."""
