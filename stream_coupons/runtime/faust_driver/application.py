"""Faust's application and worker process, set up for our consumer."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import faust
from faust.types import TP

from stream_coupons.kafka.settings import KafkaSettings
from stream_coupons.runtime.faust_driver.consumer import BatchConsumer
from stream_coupons.runtime.faust_driver.transport import BatchTransport
from stream_coupons.runtime.inbox import Inbox

MAX_FETCH_BYTES = 4 * 1024 * 1024


class Application(faust.App):  # type: ignore[misc]
    """A member of a consumer group, without tables, web server or topics of Faust's own.

    Parameters
    ----------
    kafka : KafkaSettings
        The brokers, and the times of the group.
    group_id : str
        The consumer group.
    batch_records : int
        Most records fetched at once.
    between_agents : iterable of str
        Topics by which agents address each other.
    """

    def __init__(self, kafka: KafkaSettings, group_id: str, batch_records: int, between_agents: Iterable[str]) -> None:
        super().__init__(
            group_id,
            broker=[f"kafka://{address}" for address in kafka.bootstrap.split(",")],
            store="memory://",
            autodiscover=False,
            web_enabled=False,
            web_tables_enabled=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            consumer_auto_offset_reset="earliest",
            consumer_max_fetch_size=MAX_FETCH_BYTES,
            broker_commit_interval=kafka.commit_interval_s,
            broker_session_timeout=kafka.session_timeout_s,
            broker_heartbeat_interval=kafka.heartbeat_interval_s,
            broker_rebalance_timeout=kafka.rebalance_timeout_s,
            broker_request_timeout=kafka.request_timeout_s,
            broker_max_poll_records=batch_records,
            stream_buffer_maxsize=8,
            stream_wait_empty=True,
        )
        self.transport = BatchTransport(self.conf.broker_consumer, self, kafka, between_agents)

    def _create_directories(self) -> None:
        """Create none of Faust's folders: its tables, which would be in them, are not used."""

    @property
    def started_consumer(self) -> BatchConsumer | None:
        """The consumer if there is one: Faust's own property makes one in the thread that asks."""
        return self._consumer  # type: ignore[no-any-return]

    def add_agent(self, name: str, topics: Sequence[str], inbox: Inbox, takes: Callable[[], bool]) -> None:
        """Pass the messages and the partitions of some topics to an inbox.

        Parameters
        ----------
        name : str
            The agent.
        topics : sequence of str
            Its topics; they have the same partitions.
        inbox : Inbox
            Takes messages and assignments.
        takes : callable
            Returns whether the agent can take chunks now; nothing is fetched before all agents can.
        """
        channel = self.topic(*topics, key_serializer="raw", value_serializer="raw")

        async def body(stream: Any) -> None:
            # Acknowledging is the loop's: Faust would also do it for a chunk whose handler raised.
            await inbox.consume(stream.noack().events())

        async def assign(_app: Any, assigned: set[TP], **_: Any) -> None:
            partitions = frozenset(tp.partition for tp in assigned if tp.topic in topics)
            inbox.assign(partitions, self.consumer.membership())

        self.agent(channel, name=name)(body)
        self.on_partitions_assigned.connect(assign, weak=False)
        self.transport.agents |= dict.fromkeys(topics, name)
        self.transport.takers.append(takes)
        inbox.rejoin = lambda: self.consumer.rejoin()


class Process(faust.Worker):  # type: ignore[misc]
    """Faust's worker process, whose SIGUSR2 publishes the models in place of opening a debugger.

    Parameters
    ----------
    app : Application
        The application to run.
    publish_soon : callable
        Called on SIGUSR2.
    **options
        Of Faust's worker.
    """

    def __init__(self, app: Application, publish_soon: Callable[[], None], **options: Any) -> None:
        super().__init__(app, **options)
        self._publish_soon = publish_soon

    def _setproctitle(self, info: str, *, ident: str = "") -> None:
        """Leave the title to the worker."""

    def _on_sigusr2(self) -> None:
        self._publish_soon()
