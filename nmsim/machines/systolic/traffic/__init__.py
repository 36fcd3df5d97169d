"""What moves on an array and to it: bytes through DRAM and buffers, words from PE to PE."""
