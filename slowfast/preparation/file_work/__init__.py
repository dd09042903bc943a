"""Work on files in processes of their own, with a journal, so that one file cannot stop the others."""
