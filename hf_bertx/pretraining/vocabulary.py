"""A WordPiece vocabulary of a corpus, laid out as BERT's: specials, unused entries, then by frequency."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from tokenizers import BertWordPieceTokenizer

from .corpus import batches

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
UNUSED = 128  # as many as a discipline has symbols at most (pitches): the arm `unused` needs one each


def train_vocabulary(lines: Callable[[], Iterator[str]], size: int) -> dict[str, int]:
    """Trains a lower-case WordPiece vocabulary and orders it by how often each piece occurs.

    Order matters: the assignment `frequent` gives symbols the first words of the vocabulary, which in BERT's stand
    by frequency.

    Args:
        lines: gives the corpus anew at each call; it is read twice.
        size: entries, the five special and 128 unused ones included.

    Returns:
        `{piece: id}` of `size` entries, or fewer where the corpus has no more pieces.

    Raises:
        ValueError: `size` leaves no room for pieces.

    Source:
        Devlin et al. 2019, section 3: WordPiece embeddings.
    """
    reserved = [*SPECIALS, *(f"[unused{n}]" for n in range(UNUSED))]
    if size < 2 * len(reserved):
        raise ValueError(f"a vocabulary of {size} entries is too small; allowed: at least {2 * len(reserved)}")
    trained = BertWordPieceTokenizer(lowercase=True)
    trained.train_from_iterator(
        lines(), vocab_size=size - UNUSED, special_tokens=list(SPECIALS), show_progress=False, limit_alphabet=500
    )
    counts: Counter[str] = Counter()
    for batch in batches(lines(), len):
        for encoding in trained.encode_batch(batch, add_special_tokens=False):
            counts.update(encoding.tokens)
    vocabulary: dict[str, int] = trained.get_vocab()
    pieces = sorted(set(vocabulary) - set(SPECIALS), key=lambda piece: (-counts[piece], vocabulary[piece]))
    return {piece: i for i, piece in enumerate([*reserved, *pieces])}


def build_tokenizer(vocabulary: dict[str, int], max_length: int) -> Any:
    """BERT's stock tokenizer over a vocabulary."""
    from transformers import BertTokenizer

    tokenizer = BertTokenizer(vocab=vocabulary)
    tokenizer.model_max_length = max_length
    return tokenizer
