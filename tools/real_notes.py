"""Runs chapter 8 under profile [real] and keeps the table of real notes it shows. How to run it: tools/README.md"""
import argparse, os, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT/"book"))
import build

CHAPTER, TABLE = "08_on_the_fly", ROOT/"audio_tutorial/results/real_notes.csv"

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="real notes, named as NSynth's are")
    folder = parser.parse_args().folder.resolve()
    values = build.profiles(ROOT, build.chapters(ROOT))["real"][CHAPTER]
    values |= dict(real_notes=str(folder), save_real=str(TABLE))
    os.environ["PYTHONPATH"] = str(ROOT)
    build.run(ROOT/f"nbs/{CHAPTER}.ipynb", ROOT/"_build", ROOT/f"_build/executed/real/{CHAPTER}.ipynb", values)
    print(TABLE.read_text())

if __name__ == "__main__": main()
