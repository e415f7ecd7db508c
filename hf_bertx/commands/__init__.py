"""The verbs of the `bertx` command: in each module `add` declares their arguments, the rest runs them."""
