"""Prior variances of weights by what they are of; heads multiply some of them (`registry`)."""

import numpy as np

from stream_coupons.core.catalogue.compiled import Floats
from stream_coupons.core.features.rows import DIMENSIONS
from stream_coupons.models.encoding import BIAS, CONSTANT, FIRST_BIN, HELD

VARIANCE_OF_PLACES = 0.5
"""Prior variance, shared equally by the hashed features of the row that introduces them: long rows vary no more."""
VARIANCE_OF_COUPON = 0.1
"""Prior variance of a coupon's own hashed feature, whatever its row: coupons are few, and their appeals differ."""
VARIANCE_OF_NUMBER = 0.05
VARIANCE_OF_BIN = 0.005
VARIANCE_OF_CONSTANT = 1.0 / CONSTANT**2
VARIANCE_OF_HELD = 0.8
"""Prior variance of the weight of a coupon held in a visit."""
FIRST_VARIANCES: Floats = np.full(BIAS + 1, VARIANCE_OF_CONSTANT)
"""Prior variances by index, of all but hashed features."""
FIRST_VARIANCES[DIMENSIONS:FIRST_BIN] = VARIANCE_OF_NUMBER
FIRST_VARIANCES[FIRST_BIN:HELD] = VARIANCE_OF_BIN
FIRST_VARIANCES[HELD] = VARIANCE_OF_HELD
