"""Verbs that the laboratory adds to the command `stream-coupons`."""

VERBS = {
    "demo": "Start a broker and two workers, play simulated shoppers through them, and report what the coupons earned.",
    "broker": "Run a single-node broker on this machine until Ctrl-C. Never for production.",
    "replay": "Decide over a recording exactly as the workers do, without a broker.",
    "evaluate": "Learn from the log of another system and say how good the predictions were.",
    "ope": "Value our policy on a log of another one: what would it have earned?",
    "export": "Write the decisions on record and what came of them as a table.",
    "what-if": "Play recorded events with a catalogue file beside the published one, and compare the decisions.",
    "tune": "Search for settings that predict a log better.",
}
"""Help line by verb; each is a module of this package."""
