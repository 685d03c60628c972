"""One contestant in a process of its own: `python -m bench.worker MODULE NAME JSON`

It says that it is ready, then takes one turn for each line of JSON on standard input, and answers with one."""
import importlib, json, os, sys

def main():
    module, name, options = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1) # what libraries print goes to standard error
    turn = importlib.import_module(f"bench.{module}").CONTESTANTS[name](**json.loads(options))
    print(json.dumps("ready"), file=answers)
    for line in sys.stdin: print(json.dumps(turn(**json.loads(line))), file=answers)

if __name__ == "__main__": main()
