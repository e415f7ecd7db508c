"""The verbs of the `bertx` command, a module each: `add` says what it takes, the other functions carry it out."""
