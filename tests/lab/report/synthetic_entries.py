"""Published results as the index reads them."""

RESULT = {
    "name": "head_ordering",
    "title": "Pool first or classify first?",
    "question": "Does the order of a head matter?",
    "setting": "digits",
    "answer": "Linear orders are one function. Others differ by less than a point, which agrees with the literature.",
    "verdicts": {"holds": 2, "not decided": 1},
    "claims": [
        {
            "statement": "Both orders are as accurate",
            "verdict": "holds",
            "control": False,
            "estimate": {"mean": -0.0023},
            "low": -0.0082,
            "high": 0.0036,
            "scale": 100.0,
            "unit": "points of accuracy",
        },
        {"statement": "Orders are one function", "verdict": "holds", "control": False, "number": 3e-10},
        {
            "statement": "One run decides",
            "verdict": "not decided",
            "control": False,
            "estimate": {"mean": 0.01},
            "low": None,
            "high": None,
            "scale": 100.0,
            "unit": "points of accuracy",
        },
        {"statement": "Broken orders are one function", "verdict": "fails", "control": True, "number": 0.3},
        {"statement": "Small digits differ", "verdict": None, "control": False},
    ],
    "runs": [{}] * 135,
    "page": "report.md",
    "facts": {"versions": "jax 0.10.2"},
    "times": {"ended": "2026-11-27T17:40:00+00:00"},
}
