"""What a machine and its files are like: locks, cores, streams, signals, full disks, addresses, git."""
