"""Memory policies as numa_maps writes them, such as ``bind=static:0-1``: text to policy, and policy to text."""

from __future__ import annotations

import re
from typing import Final, Literal

from migratectl.nodemask import Nodemask
from migratectl.policy import Policy
from migratectl.uapi import MAX_NUMNODES, Mode, ModeFlag

Era = Literal["2006-01", "2.6.16", "modern"]
"""Layouts of numa_maps: before 2.6.16, from 2.6.16 on, and today; semantics.md 7.1 a, b, c."""

TWO_WORDS: Final = {"prefer": "(many)", "weighted": "interleave"}
"""Names that have a blank in them, first word and second."""

_MODES: Final = {
    "default": Mode.DEFAULT,
    "local": Mode.LOCAL,
    "prefer": Mode.PREFERRED,
    "prefer (many)": Mode.PREFERRED_MANY,
    "bind": Mode.BIND,
    "interleave": Mode.INTERLEAVE,
    "weighted interleave": Mode.WEIGHTED_INTERLEAVE,
}
_MODE_NAMES: Final = {mode: name for name, mode in _MODES.items()}
_FLAGS: Final = {"static": ModeFlag.STATIC, "relative": ModeFlag.RELATIVE, "balancing": ModeFlag.BALANCING}
_FLAG_NAMES: Final = {flag: name for name, flag in _FLAGS.items()}
_WITHOUT_NODES: Final = frozenset({Mode.DEFAULT, Mode.LOCAL})

_POLICY: Final = re.compile(r"([a-z]+(?: \(many\)| interleave)?)(?:=([a-z|]+))?(?:[:=]([0-9,-]+))?")
_NODE_LIST: Final = re.compile(r"[0-9]{1,4}(?:-[0-9]{1,4})?(?:,[0-9]{1,4}(?:-[0-9]{1,4})?)*")


def parse_policy(text: str) -> Policy:
    """
    Read a policy such as ``bind=static:0-1``, with ``=`` or ``:`` before the nodes.

    Raises:
        ValueError: Not a policy of numa_maps.

    Source:
        mpol_to_str(), mm/mempolicy.c; ``prefer`` without a node is the local one, semantics.md B27.
    """
    match = _POLICY.fullmatch(text)
    if not match or match[1] not in _MODES:
        raise ValueError(f"{text[:60]!r} is no policy")
    mode, flags = _MODES[match[1]], match[2].split("|") if match[2] else []
    unknown = [flag for flag in flags if flag not in _FLAGS]
    if unknown or len(set(flags)) != len(flags):
        raise ValueError(f"{text[:60]!r} has mode flags other than static, relative, balancing, each once")
    nodes = _parse_nodes(match[3]) if match[3] else Nodemask()
    _check_nodes(mode, nodes, text[:60])
    return Policy(mode, nodes, tuple(_FLAGS[flag] for flag in flags))


def format_policy(policy: Policy, era: Era) -> str:
    """
    Text of a policy.

    Args:
        policy: The policy.
        era: ``modern`` puts ``:`` before the nodes, the older ones ``=``.

    Source:
        mpol_to_str(), mm/mempolicy.c.
    """
    text = _MODE_NAMES[policy.mode]
    if policy.flags:
        text += "=" + "|".join(_FLAG_NAMES[flag] for flag in policy.flags)
    if policy.nodes:
        text += (":" if era == "modern" else "=") + str(policy.nodes)
    return text


def _parse_nodes(text: str) -> Nodemask:
    if not _NODE_LIST.fullmatch(text):
        raise ValueError(f"{text[:60]!r} is no list of nodes such as 0-2,5")
    nodes = Nodemask.parse(text)
    if nodes.bits >> MAX_NUMNODES:
        raise ValueError(f"{text[:60]!r} goes beyond node {MAX_NUMNODES - 1}")
    return nodes


def _check_nodes(mode: Mode, nodes: Nodemask, text: str) -> None:
    if mode in _WITHOUT_NODES and nodes:
        raise ValueError(f"{text!r}: this policy takes no nodes")
    if mode not in _WITHOUT_NODES and not nodes and text != "prefer":
        raise ValueError(f"{text!r}: this policy needs nodes")
    if mode is Mode.PREFERRED and len(nodes) > 1:
        raise ValueError(f"{text!r}: prefer takes one node")
