"""Parts of the tokenizer: looking symbols up, laying batches out, the plain form that is saved."""
