"""Work on one file per process, with a journal, so that one file cannot stop the others."""
