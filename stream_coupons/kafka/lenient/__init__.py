"""Reading whatever bytes stand in a topic: batches that do not unpack, headers that are no text."""
