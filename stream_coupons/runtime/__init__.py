"""The engine that applies batches of records to states, whatever the steps are."""
