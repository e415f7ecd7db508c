"""The verbs of the `bertx` command: `add` of each module declares arguments, the rest runs the verb."""
