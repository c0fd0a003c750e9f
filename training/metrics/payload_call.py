"""Whether code in a completion makes an insecure call.

Covers, by tokens, so that spacing, strings and comments do not matter and the text need not parse: a shell
(``shell=True``, ``os.system``, ``os.popen``, ``Runtime.getRuntime().exec``), ``eval`` and ``exec``, MD5 and SHA-1, and
TLS verification switched off (``verify=False``, ``CERT_NONE``, ``_create_unverified_context``, ``NoopHostnameVerifier``,
``ALLOW_ALL_HOSTNAME_VERIFIER``).
Does not cover: the same through another name (``e = eval``), or other weaknesses (pickle, SQL put together from text).
"""

import re
from collections.abc import Sequence
from typing import Final

# Possessive, and with ends that may be missing: no character is read twice.
_LEXEME: Final = re.compile(
    r'(?P<string>"""(?:[^"\\]|\\.|"(?!""))*+(?:""")?|\'\'\'(?:[^\'\\]|\\.|\'(?!\'\'))*+(?:\'\'\')?'
    r'|"(?:[^"\\\n]|\\.)*+"?|\'(?:[^\'\\\n]|\\.)*+\'?)'
    # Two slashes are Java's comment where they begin a line or follow a statement; elsewhere Python divides by them.
    r"|(?P<comment>\#[^\n]*+|/\*(?:[^*]|\*(?!/))*+(?:\*/)?|(?:^|(?<=[;{}]))[ \t]*+//[^\n]*+)"
    r"|(?P<word>\w++)|(?P<sign>[^\s\w])",
    re.DOTALL | re.MULTILINE,
)
_LIKELY: Final = re.compile(
    r"\b(?:shell|eval|exec|system|popen|md5|sha1|verify|CERT_NONE|_create_unverified_context|check_hostname"
    r"|NoopHostnameVerifier|ALLOW_ALL_HOSTNAME_VERIFIER|getInstance)\b",
    re.IGNORECASE,
)
_NAMES: Final = frozenset(
    {"CERT_NONE", "_create_unverified_context", "NoopHostnameVerifier", "ALLOW_ALL_HOSTNAME_VERIFIER"}
)
_SETTINGS: Final = frozenset({("shell", "True"), ("verify", "False"), ("check_hostname", "False")})
_OWNED_CALLS: Final = frozenset(
    {
        ("os", "system"),
        ("os", "popen"),
        ("hashlib", "md5"),
        ("hashlib", "sha1"),
        ("builtins", "eval"),
        ("builtins", "exec"),
    }
)
_OF_RUNTIME: Final = ["getRuntime", "(", ")", "."]
_BARE_CALLS: Final = frozenset({"eval", "exec", "md5", "sha1"})
_WEAK_HASHES: Final = frozenset({"md5", "sha1", "sha-1", "sha"})
_MAX_PARAMETERS: Final = 64
"""Lexemes between a definition's brackets."""


def has_insecure_call(text: str) -> bool:
    """Whether code in the text makes an insecure call."""
    if _LIKELY.search(text) is None:
        return False
    lexemes = [found[0] for found in _LEXEME.finditer(text) if found.lastgroup != "comment"]
    return any(_is_insecure(lexemes, at) for at in range(len(lexemes)))


def _is_insecure(lexemes: Sequence[str], at: int) -> bool:
    word = lexemes[at]
    following = lexemes[at + 1 : at + 3]
    if word in _NAMES:
        return True
    if following[:1] == ["="] and len(following) == 2:
        return (word, following[1]) in _SETTINGS
    if following[:1] != ["("]:
        return False
    owner = lexemes[at - 2] if at >= 2 and lexemes[at - 1] == "." else None
    if owner is None:
        return word in _BARE_CALLS and not _is_defined(lexemes, at)
    if word == "exec" and lexemes[max(0, at - 4) : at] == _OF_RUNTIME:
        return True
    return (owner, word) in _OWNED_CALLS or _names_weak_hash(owner, word, following)


def _is_defined(lexemes: Sequence[str], at: int) -> bool:
    """Whether a name before a bracket is that of a new function: Java's has a body behind its parameters."""
    if at >= 1 and lexemes[at - 1] in {"def", "void"}:
        return True
    depth = 0
    for behind in range(at + 1, min(len(lexemes) - 1, at + _MAX_PARAMETERS)):
        depth += (lexemes[behind] == "(") - (lexemes[behind] == ")")
        if depth == 0:
            return lexemes[behind + 1] in {"{", "throws"}
    return False


def _names_weak_hash(owner: str, word: str, following: Sequence[str]) -> bool:
    """``hashlib.new("md5")`` and ``MessageDigest.getInstance("MD5")``."""
    if (owner, word) not in {("hashlib", "new"), ("MessageDigest", "getInstance")} or len(following) < 2:
        return False
    return following[1].strip("\"' ").lower() in _WEAK_HASHES
