"""Parts of the corpus of broken, odd and hostile files."""
