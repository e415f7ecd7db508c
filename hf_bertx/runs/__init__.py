"""One run: its order, its training and its folder."""
