"""Builders that turn original files into typed Parquet with a data set card."""
