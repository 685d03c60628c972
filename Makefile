# make book    run the chapters and render them into _build/html (PROFILE=book; others: see settings.ini)
# make lab     open the chapters in JupyterLab, as they stand or with a profile's values (PROFILE=quick)
# make test    run the tests, every chapter under [quick], the book from those, and a chapter from the built wheel
# make bench   measure speed beside other libraries, on an idle machine; the book's page "How fast is it?" shows it
# make newest  the package's tests and the quick book with the newest releases that pyproject.toml allows, without the
#              lock, on Python 3.11, 3.12 and 3.13 (newest-3.12: on that one)
# make oldest  the package's tests with the lowest versions that pyproject.toml allows, on Python 3.11
# make export  after a change in nbs/: clean the notebooks and write audio_tutorial/ from them
# make lock    bring requirements.lock to the newest versions that pyproject.toml allows
# make serve   show the book at http://localhost:8000
# make clean   remove _build, which holds all that book, lab and test made; make setup is a part of all three
# What was asked for: without it, `make lab` leaves the values that stand in the chapters.
ASKED := $(PROFILE)
PROFILE ?= book
# Chapters that run at a time: a thread each makes more of two cores than one chapter after the other with two threads.
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/python -m uv
SETUP := $(VENV)/.stamp
PYTHONS := python3 python3.13 python3.12 python3.11

VERSIONS := 3.11 3.12 3.13

.PHONY: book lab test newest oldest setup export bench lock serve clean

book: $(SETUP)
	$(BIN)/python book/build.py --profile $(PROFILE) --out _build --jobs $(JOBS)

lab: $(SETUP)
	$(BIN)/python book/lab.py $(if $(ASKED),--profile $(ASKED))

test: $(SETUP)
	$(BIN)/python book/build.py --profile quick --out _build/quick --jobs $(JOBS)
	$(BIN)/python -m pytest

# The tests of the package. The others are of what surrounds it: pages, lab, lock and wheel.
OTHER_TESTS := $(patsubst %,tests/test_%.py,bench build lab listen package renumber site wheel words)
PACKAGE_TESTS = $(filter-out $(OTHER_TESTS),$(wildcard tests/test_*.py))

# An environment of its own, without the lock: $(1) is its folder, $(2) the Python, $(3) how to choose versions.
define FRESH
	$(UV) venv --quiet --no-config --clear --python $(2) $(1)
	$(UV) pip install --quiet --no-config --compile-bytecode --python $(1) -r pyproject.toml $(3)
	$(UV) pip install --quiet --no-config --python $(1) --no-deps -e .
	$(1)/bin/python -m pytest $(PACKAGE_TESTS)
endef

newest: $(VERSIONS:%=newest-%)

newest-%: $(SETUP)
	$(call FRESH,_build/newest-$*,$*,--all-extras)
	_build/newest-$*/bin/python book/build.py --profile quick --out _build/newest-$*-book --jobs $(JOBS)

oldest: $(SETUP)
	$(call FRESH,_build/oldest,3.11,--extra test --extra onnx --extra distributed --resolution lowest-direct)

setup: $(SETUP)

# The stamp goes first and comes last: a set-up that was interrupted starts again from nothing. uv compiles what it
# installs, as pip does: where Python may not (PYTHONDONTWRITEBYTECODE), importing fastai took 14 s and takes 5.
$(SETUP): requirements.lock pyproject.toml $(wildcard book/_listen/package-lock.json)
	@test -e $@ || rm -rf $(VENV)
	@rm -f $@
	@bare=; for p in $(PYTHON) $(PYTHONS); do \
	  $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || continue; \
	  if $$p -c 'import ensurepip, venv' 2>/dev/null; then \
	    echo "Setting up $(VENV) with $$p"; exec $$p -m venv $(VENV); fi; \
	  bare=$${bare:-$$p}; done; \
	if [ "$$bare" ]; then echo "$$bare comes without venv; on Debian and Ubuntu: sudo apt-get install" \
	  $$($$bare -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])') >&2; exit 1; fi; \
	echo "This book needs Python 3.11, 3.12 or 3.13; name one with: make PYTHON=/path/to/python3" >&2; exit 1
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	$(BIN)/python book/node.py
	@touch $@

define CLEAR_OUTPUTS
import nbformat, sys
for path in sys.argv[1:]:
    nb = nbformat.read(path, 4)
    for cell in nb.cells:
        if cell.cell_type == "code": cell.update(outputs=[], execution_count=None)
    nbformat.write(nb, path)
endef
export CLEAR_OUTPUTS

export: $(SETUP)
	@$(BIN)/python -c "$$CLEAR_OUTPUTS" nbs/*.ipynb
	$(BIN)/nbdev-clean
	env -u IN_TEST $(BIN)/nbdev-export

bench: $(SETUP)
	$(BIN)/python -m bench

lock: $(SETUP)
	$(UV) pip compile --universal --python-version 3.11 --fork-strategy fewest --generate-hashes --no-header \
	  --no-annotate --no-emit-index-url --all-extras --upgrade --quiet -o requirements.lock pyproject.toml

serve:
	python3 -m http.server 8000 --bind 127.0.0.1 --directory _build/html

clean:
	rm -rf _build
