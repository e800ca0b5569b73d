"""What is on disk: files, hashes, locks, checkpoints, workdirs."""
