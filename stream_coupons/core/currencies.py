"""Money as people read it: the decimals of each currency by ISO 4217."""

from typing import Annotated

from msgspec import Meta

Currency = Annotated[
    str, Meta(pattern="^[A-Z]{3}$", min_length=3, max_length=3, description="ISO 4217 code, such as EUR")
]

_OTHER_DECIMALS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
CENTS = "cents"
"""Minor units of a currency that is not known."""
_DECIMALS = {CENTS: 0} | {code: places for places, codes in _OTHER_DECIMALS.items() for code in codes.split()}


def decimals(currency: str | None) -> int:
    """Return the decimals of a currency; of None, minor units, 0.

    >>> decimals("EUR"), decimals("JPY"), decimals(None)
    (2, 0, 0)
    """
    return 0 if currency is None else _DECIMALS.get(currency, 2)


def units(minor: float, currency: str | None, *, sign: str = "", more: int = 0) -> str:
    """Return an amount as a number to read: in units of its currency, without one in minor units.

    Parameters
    ----------
    minor : float
        Minor units.
    currency : str or None
        ISO 4217 code.
    sign : str
        `+` to show the sign of a gain, too.
    more : int
        Decimals beyond those of the currency, for an expected amount.

    Examples
    --------
    >>> units(200000, "EUR"), units(12.34, "EUR", sign="+", more=1), units(1500, "KWD"), units(1500, None)
    ('2,000.00', '+0.123', '1.500', '1,500')
    """
    places = decimals(currency)
    return f"{minor / 10**places:{sign},.{places + more}f}"


def money(minor: float, currency: str | None, *, sign: str = "", more: int = 0) -> str:
    """Return an amount as `units`, with the code of its currency.

    Parameters
    ----------
    minor, currency, sign, more
        Parameters as of `units`.

    Examples
    --------
    >>> money(200000, "EUR"), money(-5, "EUR"), money(1500, "JPY"), money(1500, None)
    ('2,000.00 EUR', '-0.05 EUR', '1,500 JPY', '1,500')
    """
    return " ".join(filter(None, (units(minor, currency, sign=sign, more=more), currency)))
