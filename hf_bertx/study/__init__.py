"""A set of runs as YAML: which there are, who does them, in what time, and which setting validation chooses."""
