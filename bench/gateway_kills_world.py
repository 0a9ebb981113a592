"""A reward that most answers get some of, so that each step trains. Used by gateway_kills.py."""


def vowels(task, text):
    """Vowels of an answer, and a little for its length."""
    return sum(str(text).count(v) for v in "aeiou") + len(str(text)) / 100
