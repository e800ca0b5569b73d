"""Show results: as tables, CSV, figures, galleries, reports and comparisons."""
