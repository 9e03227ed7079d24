"""What a kernel answered to a step, against a document of the tool: functions that say what differs, if anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from migratectl.nodemask import Nodemask

PAGE = 4096
Document = Mapping[str, Any]
Answer = Callable[[Document], str | None]
"""From a document of the tool to what the kernel did otherwise; None where it did the same."""


def differs(what: str, got: object, kernel: object) -> str | None:
    """Says so."""
    return None if got == kernel else f"{what} {got!r}, the kernel {kernel!r}"


def first(*found: str | None) -> str | None:
    """The first difference."""
    return next((one for one in found if one), None)


def done(document: Document) -> str | None:
    """Set-up: what it did not do is wrong, whatever the kernel says."""
    return document.get("message") if document.get("errno") or document.get("exit") in (1, 2, 4, 6) else None


def understood(document: Document) -> str | None:
    """No usage error, no unusable state."""
    return document["message"] if document.get("exit") in (2, 4, 6) else None


def sound(document: Document) -> str | None:
    """Whether `check` finds nothing, as the content of all pages was right."""
    return differs("sound", document["ok"], True)


def errno(result: Document) -> Answer:
    """The error of a call, or that there was none."""
    return lambda document: first(understood(document), differs("errno", document["errno"], result.get("errno")))


def value(result: Document) -> Answer:
    """The error of a call, else its return value."""

    def answer(document: Document) -> str | None:
        wrong = errno(result)(document)
        return wrong if wrong or result.get("errno") else differs("returned", document["return"], result["ret"])

    return answer


def faulted(result: Document) -> Answer:
    """Whether the kernel sent a signal."""
    return lambda document: differs("signalled", document.get("errno") is not None, "signal" in result)


def policy(result: Document, asked: tuple[str, ...]) -> Answer:
    """get_mempolicy(2): a node, the allowed nodes, or mode, nodes and flags."""

    def answer(document: Document) -> str | None:
        wrong = errno(result)(document)
        if wrong or result.get("errno"):
            return wrong
        if "node" in asked:
            return differs("node", document["node"], result["mode"])
        nodes = differs("nodes", document["nodes"], str(Nodemask(result["nodes"])))
        if "mems_allowed" in asked:
            return nodes
        flags = sorted(flag.removesuffix("-nodes") for flag in document["flags"])
        kernel = sorted(flag.replace("_", "-").removesuffix("-nodes") for flag in result.get("mode_flags", []))
        mode = differs("mode", document["mode"], result["mode"].replace("_", "-"))
        return first(mode, nodes, differs("flags", flags, kernel))

    return answer


def statuses(result: Document) -> Answer:
    """move_pages(2): the call, and each page that it has written a status for."""

    def answer(document: Document) -> str | None:
        got = [row["errno"] or row["node"] for row in (document.get("status") or [])]
        pairs = zip(got, result.get("status", []), strict=False)
        return first(value(result)(document), *(differs("status", a, b) for a, b in pairs if b is not None))

    return answer


def cpuset_file(result: Document) -> Answer:
    """A file of a cpuset, as cat prints it."""
    return lambda document: differs("value", document["value"], result["value"].strip())


def pages(areas: Mapping[str, int], seen: list[Document]) -> Answer:
    """The node and the state of every page; *areas*: first address by name."""

    def answer(document: Document) -> str | None:
        told = {
            int(run["addr"], 16) + k * PAGE: run
            for vma in document["vmas"]
            for run in vma["pages"]
            for k in range(run["pages"])
        }
        for vma in seen:
            for k, kernel in enumerate(vma.get("nodes", [])):
                run = told.get(areas[vma["vma"]] + k * PAGE, {"state": "absent", "node": None})
                letter = vma.get("pm", "")[k : k + 1]
                where = f"page {k} of {vma['vma']}"
                if wrong := differs(f"{where} swapped", run["state"] == "swapped", letter == "w") if letter else None:
                    return wrong
                if kernel == "ENOENT" and letter in ("x", "s", "f"):
                    continue  # present behind PROT_NONE, where a query sees nothing
                node = run["node"] if run["state"] == "present" else None
                if wrong := differs(where, node, kernel if isinstance(kernel, int) and kernel >= 0 else None):
                    return wrong
        return None

    return answer


def numa_maps(areas: Mapping[str, int], seen: list[Document]) -> Answer:
    """The policy and the pages by node of every line."""

    def answer(document: Document) -> str | None:
        told = {int(line["addr"], 16): line for line in document["lines"]}
        for vma in seen:
            for kernel in vma["numa_maps"]:
                line = told.get(areas[vma["vma"]] + kernel["start"] * PAGE)
                where = f"line at page {kernel['start']} of {vma['vma']}"
                if line is None:
                    return f"no {where}"
                nodes = {str(node): nr for node, nr in (line["nodes"] or {}).items()}
                text = line["policy"].replace(" ", "")
                wrong = first(
                    differs(f"{where}: policy", text, kernel["policy"].replace(" ", "")),
                    differs(f"{where}: nodes", nodes, kernel["N"]),
                )
                if wrong:
                    return wrong
        return None

    return answer
