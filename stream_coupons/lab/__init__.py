"""What a data scientist uses; a worker imports none of it."""
