"""Released checkpoints: folders as their authors publish them, read without their code and without "
"pickles."""
