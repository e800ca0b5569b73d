"""From results to tables, CSV, figures, galleries, reports and comparisons."""
