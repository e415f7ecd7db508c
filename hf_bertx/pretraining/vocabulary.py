"""A WordPiece vocabulary of a corpus, laid out as BERT's: specials, unused entries, then by frequency."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tokenizers import BertWordPieceTokenizer
from transformers import BertTokenizer

from .. import run_files
from .corpus import Source, read_rows

TRAINED_ON = "trained_on.json"  # beside a vocabulary: its requested size, and the text
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
UNUSED = 128  # as many as a discipline has symbols at most (pitches): the arm `unused` needs one each
_LETTERS = 500  # the rest of the letters become [UNK]; not in Devlin et al.

logger = logging.getLogger(__name__)


def train_vocabulary(lines: Callable[[], Iterator[str]], size: int) -> dict[str, int]:
    """Trains a lower-case WordPiece vocabulary and orders it by how often each piece occurs.

    Order matters: the assignment `frequent` gives symbols the first words of the vocabulary, which in BERT's stand
    by frequency. The same text gives the same vocabulary: the trainer breaks ties between pairs by the ids of their
    pieces, and gives ids to letters in the order of a hash table, so all letters are given to it beforehand, sorted.

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
    trainer = BertWordPieceTokenizer(lowercase=True)
    words = _count_words(lines(), trainer)
    letters: Counter[str] = Counter()
    for word, count in words.items():
        for letter in word:
            letters[letter] += count
    alphabet = sorted(sorted(letters, key=lambda letter: (-letters[letter], letter))[:_LETTERS])
    continuing = sorted({f"##{letter}" for word in words for letter in word[1:]} & {f"##{a}" for a in alphabet})
    trainer.train_from_iterator(
        lines(),
        vocab_size=size - UNUSED,
        special_tokens=[*SPECIALS, *continuing],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    vocabulary: dict[str, int] = trainer.get_vocab()
    counts: Counter[str] = Counter()
    encoder = BertWordPieceTokenizer(vocabulary, lowercase=True)
    ordered = sorted(words)
    for word, encoding in zip(ordered, encoder.encode_batch(ordered, add_special_tokens=False), strict=True):
        for piece in encoding.tokens:
            counts[piece] += words[word]
    pieces = sorted(set(vocabulary) - set(SPECIALS), key=lambda piece: (-counts[piece], vocabulary[piece]))
    return {piece: i for i, piece in enumerate([*reserved, *pieces])}


def _count_words(lines: Iterator[str], tokenizer: Any) -> Counter[str]:
    """How often each word of the normalized text occurs, as the trainer counts them."""
    words: Counter[str] = Counter()
    for line in lines:
        normal = tokenizer.normalizer.normalize_str(line)
        words.update(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal))
    return words


@contextmanager
def trained_tokenizer(
    source: Source, size: int, longest: int, folder: Path, compared: bool
) -> Iterator[BertTokenizer]:
    """The tokenizer in `folder`. For another size or text one is trained, and saved to `folder` at the end of the
    context, unless it ends by an error.

    Args:
        longest: tokens of an input.
        compared: whether the text is compared with the record of a pre-training, so that nothing is to be trained.

    Raises:
        ValueError: a folder that holds something else, text that cannot be read, or a size that is too small.
    """
    record = folder / TRAINED_ON
    if folder.exists() and not record.is_file():
        raise ValueError(f"{folder}: holds no vocabulary of a pre-training, which would replace it; move it away")
    made_from = {"size": size, "text": source.key()}
    if compared or (record.is_file() and run_files.read_json(record) == made_from):
        yield BertTokenizer.from_pretrained(folder, trust_remote_code=False)
        return
    logger.warning(f"training a vocabulary of {size} entries")
    tokenizer = BertTokenizer(vocab=train_vocabulary(lambda: (row["text"] for row in read_rows(source)), size))
    tokenizer.model_max_length = longest
    yield tokenizer

    def write(path: Path) -> None:
        tokenizer.save_pretrained(path)
        run_files.write_json(path / TRAINED_ON, made_from)

    run_files.write_folder(folder, write)
