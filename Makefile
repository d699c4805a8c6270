# Everything runs in .venv; a bare machine needs Python >= 3.10 with its venv module, a C++17
# compiler and make. CMake and Ninja come from PyPI when the system has none.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml CMakeLists.txt README.md LICENSE $(shell find cmake cpp/include \
  cpp/bindings python/lipgd \( -name __pycache__ -o -path python/lipgd/include -o \
  -path python/lipgd/share \) -prune -o -type f ! -name '*.so' -print)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
WARNINGS := -Wall -Wextra -Wconversion -Wsign-conversion -Wshadow -Werror

.PHONY: demo test docs lint format headers clean

demo: $(VENV)/.demo
	$(BIN)/lipgd demo

test: $(VENV)/.test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# Every warning is an error; then every internal link of the pages is followed.
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -b html -W --keep-going -n -q docs build/docs
	$(BIN)/python docs/check_links.py build/docs

# The types of the optional libraries are those that the tests use.
lint: $(VENV)/.test $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict
	$(BIN)/python -m mypy.stubtest lipgd._core
	$(BIN)/clang-format --dry-run --Werror $$(find cpp -name '*.[ch]pp')

format: $(VENV)/.lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $$(find cpp -name '*.[ch]pp')

# Each header must compile on its own, without warnings.
headers: $(VENV)/.test
	PATH="$(CURDIR)/$(BIN):$$PATH" CXXFLAGS="$(WARNINGS)" cmake -G Ninja -S . -B build/headers \
	  -DCMAKE_PREFIX_PATH="$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
	  -DCMAKE_VERIFY_INTERFACE_HEADER_SETS=ON
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake --build build/headers --target all_verify_interface_header_sets

clean:
	rm -rf $(VENV) build dist

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "$(PYTHON) is too old, lipgd needs Python 3.10: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.installed: $(VENV)/.created $(SOURCES)
	$(BIN)/python -m pip install .
	touch $@

# lipgd is installed by now: these add what its extras name, and compile nothing.
$(VENV)/.demo $(VENV)/.test $(VENV)/.docs $(VENV)/.lint: $(VENV)/.%: $(VENV)/.installed
	$(BIN)/python -m pip install "lipgd[$*]"
	touch $@
