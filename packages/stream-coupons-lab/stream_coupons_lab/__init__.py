"""The laboratory of stream_coupons: evaluation of logs, off-policy values, tuning, simulation and the demonstration.

`__all__` lists what is public; all else may change without notice. A worker imports nothing of it.
"""

__all__ = ["frames"]
