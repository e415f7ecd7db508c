"""One run: what is ordered, and what lies in its folder."""
