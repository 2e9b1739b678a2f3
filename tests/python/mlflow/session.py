"""What a session is given: the address of a server, a client of it, a folder of its own, and a transcript to write."""

import contextlib
import math
import os
import re

import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

# SQLite has no infinities: MLflow's own server keeps them as the largest numbers, and its tests accept either.
LARGEST = 1.7976931348623157e308

ENDS = [
    " See the API docs for more information about request parameters.",
    "\n\nThe cause of this error is typically",
    " Error: (",
    "(sqlite3.",
]

# What differs from one run of a session to the next, and what stands for it in a transcript.
PLACEHOLDERS = [
    (re.compile(r"\bport=\d+"), "PORT", False),
    (re.compile(r"http://127\.0\.0\.1:\d+"), "URL", False),
    (re.compile(r"\btr-[0-9a-f]{32}\b"), "TRACE", True),
    (re.compile(r"\bm-[0-9a-f]{32}\b"), "MODEL", True),
    (re.compile(r"\ba-[0-9a-f]{32}\b"), "ASSESSMENT", True),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "UUID", True),
    (re.compile(r"\b[0-9a-f]{32}\b"), "RUN", True),
    (re.compile(r"^[a-z]+-[a-z]+-\d{1,4}$"), "RANDOM_NAME", False),
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)?"), "DATE", False),
]
SET = re.compile(r"\{('[^'{}]*'(?:, '[^'{}]*')*)\}")
REPEATED = re.compile(r"(.)\1{29,}")
NOW_MS = range(1_600_000_000_000, 4_000_000_000_000)


class Session:
    def __init__(self, url, folder):
        self.url = url
        self.folder = folder
        self.client = MlflowClient()
        self.transcript = {}

    def note(self, label, value):
        """What was seen. A label stands once."""
        assert label not in self.transcript, label
        self.transcript[label] = value

    def refused(self, label, call, *arguments, **named):
        """What a call is refused with; that it is taken is noted too."""
        try:
            call(*arguments, **named)
        except MlflowException as refusal:
            self.note(label, said(refusal))
        except Exception as refusal:  # Of the client itself, before anything is sent.
            self.note(label, [type(refusal).__name__, str(refusal)])
        else:
            self.note(label, "taken")

    def ask(self, method, path, **named):
        """A request without MLflow's client."""
        return requests.request(method, self.url + path, timeout=60, **named)

    def asked(self, label, method, path, **named):
        """Status and answer of such a request, and of a refusal without its advice."""
        answer = self.ask(method, path, **named)
        seen = answer.text
        with contextlib.suppress(ValueError):
            seen = answer.json()
            if isinstance(seen, dict) and "error_code" in seen:
                seen = [seen["error_code"], told(seen["message"])]
            if isinstance(seen, dict) and "next_page_token" in seen:
                # What is in it is the server's own affair.
                seen["next_page_token"] = bool(seen["next_page_token"])
        self.note(label, [answer.status_code, seen])
        return answer

    def file(self, name, text):
        """A file of the session's own folder."""
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def finished(self):
        """The transcript, the same each time."""
        return Normal(self.folder).of(self.transcript)


def said(refusal):
    """Code and message; the client puts the code before the message too."""
    return [refusal.error_code, told(refusal.message.removeprefix(f"{refusal.error_code}: "))]


def told(message):
    """What is wrong, without SQLite's words for it and without general advice."""
    for end in ENDS:
        message = message.partition(end)[0]
    return message


class Normal:
    """Replaces what is random by what it is: the first run that is named is RUN-1."""

    def __init__(self, folder):
        self.folder = folder
        self.seen = {}

    def of(self, value):
        match value:
            case dict():
                return {self.of(key): self.of(member) for key, member in value.items()}
            case list() | tuple():
                return [self.of(member) for member in value]
            case str():
                return self.text(value)
            case bool() | None:
                return value
            case int():
                return "TIME" if value in NOW_MS else value
            case float():
                return self.number(value)
            case _:
                return self.text(str(value))

    def number(self, value):
        if math.isnan(value):
            return "NaN"
        if abs(value) >= LARGEST:
            return "Infinity" if value > 0 else "-Infinity"
        # JSON would not tell -0.0 from 0.0 to every reader.
        return "-0.0" if value == 0 and math.copysign(1, value) < 0 else value

    def text(self, text):
        text = text.replace(str(self.folder), "FOLDER")
        # Python shows a set in an order of the day.
        text = SET.sub(lambda found: f"{{{', '.join(sorted(found[1].split(', ')))}}}", text)
        for pattern, name, is_counted in PLACEHOLDERS:
            text = pattern.sub(lambda found: self.named(name, found[0]) if is_counted else name, text)
        text = REPEATED.sub(lambda found: f"{found[1]}×{len(found[0])}", text)
        return re.sub(r"(?<![\d.])1[6-9]\d{11}(?!\d)", "TIME", text)

    def named(self, name, found):
        known = self.seen.setdefault(name, [])
        if found not in known:
            known.append(found)
        return f"{name}-{known.index(found) + 1}"
