"""What the data path does in a CPU-second, beside what was promised: `make bench SOURCE=folder`."""
