"""A Faust program that counts words in a table and sends every count on; run by test_faust."""

import os

import faust

app = faust.App(
    "counter",
    broker=f"kafka://{os.environ['BOOTSTRAP']}",
    datadir=os.environ["DATADIR"],
    store="memory://",
    web_enabled=False,
    topic_partitions=2,
    topic_replication_factor=1,
    broker_commit_interval=0.5,
    broker_session_timeout=6,
    broker_heartbeat_interval=1,
    broker_rebalance_timeout=10,
    broker_request_timeout=30,
    table_standby_replicas=0,
    stream_wait_empty=True,
)
words = app.topic(os.environ["WORDS"], key_type=bytes, key_serializer="raw", value_serializer="raw")
counts = app.topic(os.environ["COUNTS"], key_serializer="raw", value_serializer="json")
seen = app.Table("seen", default=list)


@app.agent(words)
async def count(stream: faust.Stream) -> None:
    async for word, event_id in stream.items():
        key = word.decode()
        ids = seen[key]
        # A set in the value: what is read twice after a crash is counted once.
        seen[key] = sorted({*ids, event_id.decode()})
        await counts.send(key=word, value=len(seen[key]))


if __name__ == "__main__":
    app.main()
