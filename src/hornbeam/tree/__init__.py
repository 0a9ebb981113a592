"""Trees: nodes (facts), columns (opinions), walks and folds; trees as JSON lines."""
