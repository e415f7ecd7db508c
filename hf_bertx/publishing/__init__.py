"""A run, a data set or an app -> the files of a Hub repository, with its card."""
