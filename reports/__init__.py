"""Reports: one question per folder, answered by what nmsim computes, on a page each."""
