"""Money as people read it: the decimals of each currency by ISO 4217."""

from typing import Annotated

from msgspec import Meta

Currency = Annotated[str, Meta(pattern="^[A-Z]{3}$", description="ISO 4217 code, such as EUR")]

_OTHER_DECIMALS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
_DECIMALS = {code: decimals for decimals, codes in _OTHER_DECIMALS.items() for code in codes.split()}


def money(minor: float, currency: str | None) -> str:
    """Return an amount to read; without a currency, its minor units.

    Parameters
    ----------
    minor : float
        Minor units.
    currency : str or None
        ISO 4217 code.

    Examples
    --------
    >>> money(200000, "EUR"), money(-5, "EUR"), money(1500, "JPY"), money(1500, "KWD"), money(1500, None)
    ('2,000.00 EUR', '-0.05 EUR', '1,500 JPY', '1.500 KWD', '1500')
    """
    if currency is None:
        return f"{minor:g}" if isinstance(minor, float) and not minor.is_integer() else str(round(minor))
    decimals = _DECIMALS.get(currency, 2)
    return f"{minor / 10**decimals:,.{decimals}f} {currency}"
