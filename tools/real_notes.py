"""Runs a chapter that names real notes, and keeps the table it shows to those who have none. How: tools/README.md"""
import argparse, os, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT/"book"))
import chapters, profiles

RUNS = { # chapter: profile, parameter with the file to keep, its name in audio_tutorial/results/
    "11_on_the_fly": ("real", "save_real", "real_notes.csv"),
    "15_augment": ("real", "save_real", "augment.csv"),
    "16_pretrain": ("large", "save_results", "pretrain.csv"),
}

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="real notes, named as NSynth's are")
    parser.add_argument("--chapter", choices=RUNS, default="11_on_the_fly")
    parser.add_argument("--weights", type=Path, help="for chapter 16: torchvision's file of squeezenet1_1")
    args = parser.parse_args()
    profile, parameter, name = RUNS[args.chapter]
    table = ROOT/"audio_tutorial/results"/name
    values = profiles.read_profiles(ROOT, profiles.book_chapters(ROOT))[profile][args.chapter]
    values |= {"real_notes": str(args.folder.resolve()), parameter: str(table)}
    if args.weights: values["weights"] = str(args.weights.resolve())
    os.environ |= {"PYTHONPATH": str(ROOT), **chapters.TRAINING}
    chapters.run(ROOT/f"nbs/{args.chapter}.ipynb", ROOT/"_build", ROOT/f"_build/executed/{profile}/{args.chapter}.ipynb",
                 values)
    print(table.read_text())

if __name__ == "__main__": main()
