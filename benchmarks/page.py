"""The text of docs/benchmarks.md, around the figures of one session."""

PAGE = """\
<!-- Written by `python -m benchmarks.speed --write docs`: change benchmarks/page.py, not this file. -->
# What an event costs

![CPU per source event by runtime](benchmarks.svg)

{ratios}

The ratios are what to go by: both sides of each were measured minutes apart on the same machine. The times below
belong to this machine.

{table}

At a steady rate there is little in each batch, so an event costs more. Latency is from when an event was due until its
coupon was read:

{live}

## What was measured

One file of {events} browse, cart and order events of {shoppers} shoppers, with {coupons} coupons in the catalogue; each
of its {carts} carts leads to a coupon. All runtimes read the same bytes from topics of {partitions} partitions and, but
for those that say that they do less, run the same steps (`benchmarks/steps.py`): the profile, the neighbourhood,
features, scores, the policy and the purses.

CPU is user and system time of all threads of the runtime's process, from the end of a warm-up of {warm_up} of the
events to the first moment when its group has committed all input, intermediate topics included, and stays there. While
the rest is published the process is stopped, so it finds a backlog. The sum is divided by the number of source events.
Runs of each runtime: {repeats}, in turn with the others, on empty topics of one Apache Kafka broker, {pinned}.

Events per second include waiting for the last commit, which the runtimes make every 1 to 5 seconds, and what each
spends while it waits is in its CPU: with few events that weighs, so go by long runs.

A run counts only if it wrote what it should have:

{written}

Machine: {machine}. Versions: {versions}.

At a steady rate, events are due at fixed moments, whatever the runtime does; CPU and latency are those of the load
without its first tenth. At every hop, Quix Streams collects records for its `consumer_poll_timeout` before it looks at
any. Its default is a second; here it has a value that makes its latency comparable, and the commit interval of our
worker. Its outputs can be read before the states that they belong to are stored, ours never.

## How the comparison is loaded

All that could be decided either way was decided in favour of the others:

- They keep a key's state and nothing else. Our cells also hold applied offsets, origins and, until the input is
  committed, the outputs, so that a replay sends the same bytes and decides nothing anew; the others would decide again.
- They send no headers. Ours carry the origin and the beginning of the chain.
- They check neither partitions nor copies, write no dead letters and serve no metrics; our worker does all of that.
- Faust runs on uvloop, as our worker does, with buffers four times its default, and its changelog is not awaited.
- Quix Streams stores states as bytes, not as its default JSON, and sends a state to its changelog once per key and
  checkpoint, every 5 seconds; our worker sends it with every batch.
- `quix-counter` and `quix-nothing` do not concatenate topics, which spares them the ordering by time.

A state that several topics change needs `concat` in Quix Streams, and an application that concatenates reads
everything in the order of timestamps; `quixstreams` pays for that order. `quix-unordered` is the same program with the
order switched off through a private attribute, which nobody should do, to show what it would spend without.
`floor` and `decode` are no alternatives to anything: after a crash, all their states are gone.

## Doing it again

`make bench` makes a short run, with Quix Streams in a virtual environment of its own, because it needs an older
confluent-kafka than our tests. The long one, which wrote this page:

```
.venv-bench/bin/python -m benchmarks.speed --write docs
```
"""
