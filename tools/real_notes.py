"""Runs chapter 8 or 10 under profile [real] and keeps the table of real notes it shows. How: tools/README.md"""
import argparse, os, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT/"book"))
import build

TABLES = {"08_on_the_fly": "real_notes.csv", "10_augment": "augment.csv"} # in audio_tutorial/results/

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="real notes, named as NSynth's are")
    parser.add_argument("--chapter", choices=TABLES, default="08_on_the_fly")
    args = parser.parse_args()
    table = ROOT/"audio_tutorial/results"/TABLES[args.chapter]
    values = build.profiles(ROOT, build.chapters(ROOT))["real"][args.chapter]
    values |= dict(real_notes=str(args.folder.resolve()), save_real=str(table))
    os.environ["PYTHONPATH"] = str(ROOT)
    build.run(ROOT/f"nbs/{args.chapter}.ipynb", ROOT/"_build", ROOT/f"_build/executed/real/{args.chapter}.ipynb", values)
    print(table.read_text())

if __name__ == "__main__": main()
