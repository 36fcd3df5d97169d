"""Arrays that intersect both masks: survivors of two masks, folds from their bits, estimates."""
