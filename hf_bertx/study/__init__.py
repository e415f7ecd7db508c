"""Studies: sets of runs in YAML files. Planning, execution, time estimates and choice of settings."""
