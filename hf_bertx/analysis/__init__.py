"""What a fine-tuned model does inside, and how alike two runs are."""
