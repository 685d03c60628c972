"""Runs a chapter at its full size, and keeps the table that the book shows. How: tools/README.md"""
import argparse, os, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT/"book"))
import chapters, profiles

RUNS = { # chapter: profile, parameter with the file to keep, its name in audio_tutorial/results/
    "16_pretrain": ("large", "save_results", "pretrain.csv"),
    "26_elsewhere": ("real", "save_real", "real_notes.csv"),
    "89_scoreboard": ("large", "save_results", "scoreboard.csv"),
}

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="real notes, named as NSynth's are, for a chapter that classifies them")
    parser.add_argument("--chapter", choices=RUNS, default="26_elsewhere")
    parser.add_argument("--weights", type=Path, help="for chapter 16: torchvision's file of squeezenet1_1")
    args = parser.parse_args()
    profile, parameter, name = RUNS[args.chapter]
    table = ROOT/"audio_tutorial/results"/name
    values = profiles.read_profiles(ROOT, profiles.book_chapters(ROOT))[profile][args.chapter]
    values[parameter] = str(table)
    if "real_notes" in profiles.declared(ROOT/f"nbs/{args.chapter}.ipynb"):
        if not args.folder: parser.error(f"{args.chapter} needs a folder of real notes")
        values["real_notes"] = str(args.folder.resolve())
    if args.weights: values["weights"] = str(args.weights.resolve())
    os.environ |= {"PYTHONPATH": str(ROOT), **chapters.TRAINING}
    chapters.run(ROOT/f"nbs/{args.chapter}.ipynb", ROOT/"_build", ROOT/f"_build/executed/{profile}/{args.chapter}.ipynb",
                 values)
    print(table.read_text())

if __name__ == "__main__": main()
