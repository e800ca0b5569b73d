"""Files with hashes, locks, checkpoints and workdirs."""
