"""One file per architecture: its whole forward pass, its heads, its weight-name table."""
