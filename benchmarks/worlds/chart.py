"""A chart over worlds: the share of true value that each policy earns in each world, as SVG."""

from collections.abc import Sequence
from xml.sax.saxutils import escape

from ..runs import TRUE_VALUE
from .compared import Group

COLOURS = {
    "random": "#9e9e9e",
    "ranking_learnt": "#e69f00",
    "pooled": "#009e73",
    "engine": "#d55e00",
    "learnable": "#56b4e9",
    "ranking_true": "#0072b2",
}
LEFT, WIDTH, ROW, TOP = 150, 520, 26, 46
LOWEST, HIGHEST = -0.5, 1.0


def chart(groups: Sequence[Group]) -> str:
    """Return a row for each world in which coupons pay, with a dot for each policy; shares are cut at -50 %."""
    rows = [group for group in groups if group.pays]
    height = TOP + ROW * len(rows) + 30
    shown = [policy for policy in COLOURS if any(policy in group.policies for group in rows)]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 30} {height}" font-family="sans-serif" '
        'font-size="12" role="img" aria-label="Share of true value by world and policy">',
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for number, policy in enumerate(shown):
        x = 12 + number * 112
        parts.append(f'<circle cx="{x}" cy="16" r="5" fill="{COLOURS[policy]}"/>')
        parts.append(f'<text x="{x + 9}" y="20">{escape(policy.replace("_", " "))}</text>')
    for share in (-0.5, 0.0, 0.5, 1.0):
        x, bottom = _x(share), TOP + ROW * len(rows)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{bottom}" stroke="#ccc"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{share:.0%}</text>')
    for number, group in enumerate(rows):
        y, label = TOP + ROW * (number + 0.5), f"{group.name}, {group.shoppers:,}"
        parts.append(f'<text x="{LEFT - 12}" y="{y + 4}" text-anchor="end">{escape(label)}</text>')
        for policy in shown:
            standing = group.policies.get(policy)
            if standing is not None and standing.share is not None and policy != TRUE_VALUE:
                text = escape(f"{policy}: {standing.share.mean:.0%}")
                parts.append(
                    f'<circle cx="{_x(standing.share.mean):.1f}" cy="{y}" r="5" fill="{COLOURS[policy]}" '
                    f'fill-opacity="0.85"><title>{text}</title></circle>'
                )
    return "\n".join([*parts, "</svg>\n"])


def _x(share: float) -> float:
    bounded = min(max(share, LOWEST), HIGHEST)
    return LEFT + WIDTH * (bounded - LOWEST) / (HIGHEST - LOWEST)
