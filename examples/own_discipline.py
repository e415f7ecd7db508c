"""A discipline of your own: chords. Is a progression in a major or a minor key? Seconds on two cores."""

import random

from datasets import Dataset
from transformers import DataCollatorWithPadding, Trainer, TrainingArguments, set_seed

from hf_bertx import BertForDisciplineClassification, Discipline, DisciplineTokenizer, resolve_backbone

CHORDS = Discipline("chords", ("C", "G", "F", "Am", "Dm", "Em", "E7", "Bdim"), separator=" ")
KEYS = {"major": ("C", "G", "F", "Am", "Dm"), "minor": ("Am", "Dm", "E7", "F", "Bdim")}

set_seed(0)
draw = random.Random(0)
rows = [{"sequence": " ".join(draw.choices(KEYS[key], k=8)), "labels": label}
        for _ in range(128) for label, key in enumerate(KEYS)]  # fmt: skip

source = resolve_backbone("minilm-l6").source
tokenizer = DisciplineTokenizer.from_backbone(source, CHORDS, assignment="random", seed=1)
print(tokenizer.tokenize(rows[0]["sequence"]))

data = Dataset.from_list(rows).map(lambda row: tokenizer(row["sequence"]), remove_columns=["sequence"])
model = BertForDisciplineClassification.from_pretrained(source, num_labels=2)
arguments = TrainingArguments("runs/chords", per_device_train_batch_size=32, learning_rate=3e-4, max_steps=12,
                              logging_steps=6, save_strategy="no", report_to="none", disable_tqdm=True)  # fmt: skip
trainer = Trainer(model, arguments, DataCollatorWithPadding(tokenizer), data.select(range(192)))
trainer.train()
answers = trainer.predict(data.select(range(192, 256)))
print(f"64 progressions, accuracy {(answers.predictions.argmax(-1) == answers.label_ids).mean():.3f}")

# Prints:
# ['Dm', 'Am', 'F', 'G', 'F', 'F', 'Am', 'G']
# 64 progressions, accuracy 0.984
