"""Networks of pytorchvideo that take clips of one length, as models of the framework."""
