"""Parts of trainings for tests of single steps."""
