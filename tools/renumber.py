"""Frees a number for a new chapter: the chapters from there to the next gap move up by one, and with them what names
their files or says "chapter N". Read `git diff` afterwards, then run `make export`. How: CONTRIBUTING.md"""
import argparse, re, subprocess, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KINDS = ".ipynb", ".md", ".py", ".ini", ".yml", ".toml", ".css", ".js", ""
SPACE = r'(?:\\n",|["\s#])+' # between words: a new line of a notebook's cell, or of a comment, as well
SAYS = re.compile(rf"\b[Cc]hapter{SPACE}\d+(?:{SPACE}(?:and|or){SPACE}\d+)*\b"
                  rf"|\b[Cc]hapters{SPACE}\d+(?:(?:,|{SPACE}(?:and|or|to)){SPACE}\d+)*\b")
LINK = re.compile(r"\[((?:[Cc]hapters? )?)\d+\]\((\d\d)_") # [chapter 12](12_evaluate.ipynb): the number is the file's

def moves(
    names: list, # Notebooks without suffix: NN_NAME
    free: int, # The number to free
) -> dict: # `{old name: new name}`
    "The chapters that make room, one behind the other"
    taken = {int(name[:2]): name for name in names if name[:2].isdigit()}
    found = {}
    while free in taken:
        if free == 99: sys.exit("No number is left behind 99: free one before it")
        found[taken[free]] = f"{free + 1:02d}{taken[free][2:]}"
        free += 1
    return found

def renamed(
    text: str, # Of a file
    new: dict, # `{old name: new name}`
) -> str:
    "A text that speaks of the chapters by their new names and numbers"
    numbers = {int(old[:2]): str(int(to[:2])) for old, to in new.items()}
    number = lambda m: numbers.get(int(m[0]), m[0])
    text = SAYS.sub(lambda m: re.sub(r"\d+", number, m[0]), text)
    text = re.sub(rf"\b({'|'.join(new)})\b", lambda m: new[m[0]], text)
    return LINK.sub(lambda m: f"[{m[1]}{int(m[2])}]({m[2]}_", text)

def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("number", type=int, help="the number to free, such as 12")
    parser.add_argument("--root", type=Path, default=ROOT, help="repository to change (default: the one of this script)")
    args = parser.parse_args(argv)
    new = moves([p.stem for p in (args.root/"nbs").glob("*.ipynb")], args.number)
    if not new: sys.exit(f"{args.number} is free")
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=args.root, check=True,
                           capture_output=True, text=True).stdout.splitlines()
    for name in files:
        path = args.root/name
        exported = path.parent.name == "audio_tutorial" and path.suffix == ".py" and path.name != "all.py"
        own = "renumber" in path.name # this script, and the examples of its test
        if exported or own or path.suffix not in KINDS or not path.is_file(): continue
        before = path.read_text()
        if (after := renamed(before, new)) != before:
            path.write_text(after)
            print(name)
    for old, to in reversed(new.items()): (args.root/f"nbs/{old}.ipynb").rename(args.root/f"nbs/{to}.ipynb")
    print("\n".join(f"{old} is now {to}" for old, to in new.items()))

if __name__ == "__main__": main()
