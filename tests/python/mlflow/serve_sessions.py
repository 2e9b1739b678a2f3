"""Runs sessions on demand: a line `{"session": NAME, "url": URL}` comes in, a line `{"transcript": …}` or `{"error": …}` goes out.

MLflow takes seconds to import. It is imported once; each session is a process that is forked from this one, so that none
finds anything that another left behind.
"""

import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import traceback

# The one variable that a user sets is set in each session. These keep the client quiet, and from telling anybody.
os.environ |= {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "GIT_PYTHON_REFRESH": "quiet",
    "LOGNAME": "somebody",
    "NO_PROXY": "127.0.0.1",
    "no_proxy": "127.0.0.1",
    "TQDM_DISABLE": "1",
}
SECONDS_MAX = 240


def perform(name, url):
    from session import Session

    folder = os.path.realpath(tempfile.mkdtemp(prefix="stepwell-session-"))
    home = os.getcwd()
    try:
        os.chdir(folder)
        os.environ["MLFLOW_TRACKING_URI"] = url
        session = Session(url, folder)
        module, _, function = name.partition(".")
        getattr(importlib.import_module(f"sessions.{module}"), function)(session)
        return {"transcript": session.finished()}
    except BaseException:
        return {"error": traceback.format_exc()}
    finally:
        os.chdir(home)
        shutil.rmtree(folder, ignore_errors=True)


def forked(name, url):
    """The answer of a process of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        # What MLflow prints is not an answer.
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        signal.alarm(SECONDS_MAX)
        with os.fdopen(writing, "w") as answer:
            json.dump(perform(name, url), answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        text = answer.read()
    _, status = os.waitpid(child, 0)
    return text or json.dumps({"error": f"{name} ended with status {status} and no answer"})


def preload():
    import mlflow  # noqa: F401
    import pandas  # noqa: F401
    import session  # noqa: F401
    import sklearn  # noqa: F401


def main():
    preload()
    for line in sys.stdin:
        request = json.loads(line)
        print(forked(request["session"], request["url"]), flush=True)


if __name__ == "__main__":
    main()
