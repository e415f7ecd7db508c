"""The verbs of the `bertx` command, one module each: `add` declares the arguments, the rest runs the verb."""
