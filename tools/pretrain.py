"""Runs chapter 11 under profile [large] and keeps the table it shows. How to run it: tools/README.md"""
import argparse, os, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT/"book"))
import build

CHAPTER, TABLE = "11_pretrain", ROOT/"audio_tutorial/results/pretrain.csv"

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="real notes, named as NSynth's are")
    parser.add_argument("weights", type=Path, nargs="?", help="torchvision's ImageNet weights of squeezenet1_1")
    args = parser.parse_args()
    values = build.profiles(ROOT, build.chapters(ROOT))["large"][CHAPTER]
    values |= dict(real_notes=str(args.folder.resolve()), save_results=str(TABLE), pretrained=True)
    if args.weights: values["weights"] = str(args.weights.resolve())
    os.environ |= {"PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"}
    build.run(ROOT/f"nbs/{CHAPTER}.ipynb", ROOT/"_build", ROOT/f"_build/executed/large/{CHAPTER}.ipynb", values)
    print(TABLE.read_text())

if __name__ == "__main__": main()
