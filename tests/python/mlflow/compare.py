"""Runs sessions against a server and prints what differs from what a genuine MLflow server answered.

usage: compare.py SESSION=URL…       with a Python that has the client; each session wants a new server
"""

import json
import os
import sys

import serve_sessions

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    serve_sessions.preload()
    for argument in sys.argv[1:]:
        name, _, url = argument.partition("=")
        answer = json.loads(serve_sessions.forked(name, url))
        if "error" in answer:
            print(f"== {name}\n{answer['error']}")
            continue
        with open(os.path.join(HERE, "expected", f"{name}.json"), encoding="utf-8") as file:
            wanted = json.load(file)
        # What the old client sees otherwise.
        overlay = os.path.join(HERE, "expected/year-old", f"{name}.json")
        if "year-old" in sys.executable and os.path.exists(overlay):
            with open(overlay, encoding="utf-8") as file:
                wanted |= json.load(file)
            wanted = {label: seen for label, seen in wanted.items() if seen != "(absent)"}
        with open(os.path.join(HERE, "differences.json"), encoding="utf-8") as file:
            pinned = json.load(file).get(name, {})
        wanted |= {label: difference["stepwell"] for label, difference in pinned.items() if label in wanted}
        seen = answer["transcript"]
        differing = [label for label in wanted | seen if wanted.get(label) != seen.get(label)]
        print(f"== {name}: {len(wanted) - len(differing)} of {len(wanted)} entries are the same")
        for label in differing:
            shown = [json.dumps(of.get(label), ensure_ascii=False) for of in (wanted, seen)]
            print(f"{label}\n  wanted {shown[0]}\n  got    {shown[1]}")


if __name__ == "__main__":
    main()
