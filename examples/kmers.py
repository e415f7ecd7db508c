"""k-mers: three letters a token, in a form that plain transformers reads without hf_bertx."""

import tempfile

from transformers import AutoTokenizer

from hf_bertx import DISCIPLINES, DisciplineTokenizer, resolve_backbone

source = resolve_backbone("minilm-l6").source
letters = DisciplineTokenizer.from_backbone(source, "dna")
kmers = DisciplineTokenizer.from_backbone(source, DISCIPLINES["dna"].kmers(3))

sequence = "ACGTTGACCANGT"
print(len(letters(sequence).input_ids), "tokens of letters,", len(kmers(sequence).input_ids), "tokens of 3-mers")
print(kmers.tokenize(sequence))

with tempfile.TemporaryDirectory() as folder:
    kmers.save_pretrained(folder)
    plain = AutoTokenizer.from_pretrained(folder)
print(type(plain).__name__, plain(sequence).input_ids == kmers(sequence).input_ids)

# Prints:
# 15 tokens of letters, 9 tokens of 3-mers
# ['ACG', 'TTG', 'ACC', 'A', 'N', 'G', 'T']
# TokenizersBackend True
