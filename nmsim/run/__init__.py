"""The flow of a run: its keywords, its workload, its rows, its manifest; sweeps and training."""
