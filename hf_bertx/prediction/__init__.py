"""A fine-tuned model in use: raw sequences, files of them or a pipeline in; labels, scores and attributions out."""
