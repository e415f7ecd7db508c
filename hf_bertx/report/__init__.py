"""Run folders -> tables, comparisons, figures and one HTML page. Nothing here imports torch."""
