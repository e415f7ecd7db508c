"""Probes: frozen features of each layer and a closed-form head, a run without gradient steps."""
