"""Published results as the index reads them."""

RESULT = {
    "name": "head_ordering",
    "title": "Pool first or classify first?",
    "question": "Does the order of a head matter?",
    "setting": "digits",
    "answer": "Linear orders are one function. Others differ by less than a point, which agrees with the literature.",
    "verdicts": {"fails": 0, "not decided": 1, "holds": 2},
    "claims": [
        {"verdict": "holds", "control": False},
        {"verdict": "holds", "control": False},
        {"verdict": "not decided", "control": False},
        {"verdict": "fails", "control": True},
        {"verdict": None, "control": False},
    ],
    "runs": [{}] * 135,
    "page": "report.md",
    "facts": {"versions": "jax 0.10.2"},
    "times": {"ended": "2026-11-27T17:40:00+00:00"},
}
