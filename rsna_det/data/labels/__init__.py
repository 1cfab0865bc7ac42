"""Label tables -> one row per image: reading, checks, true patients, folds."""
