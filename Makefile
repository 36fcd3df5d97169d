.PHONY: check test lint format bench site figures residuals evidence silicon

check: test lint

test:
	python -m pytest

lint:
	ruff format --check .
	ruff check .
	mypy
	lint-imports

format:
	ruff format .
	ruff check --fix .

bench:
	python -m pytest -n0 --benchmark-only --benchmark-disable-gc tests/bench_*.py

# The handbook (extra docs), in build/site/html; a warning or a link that leads nowhere is an error.
site:
	python docs/site/build_site.py

# After a change of a GPU's closed form, constants or residuals: the errors that pages state.
figures:
	python docs/site/measure_figures.py

# After a change of a GPU's closed form or constants: what it lacks is learned anew.
residuals:
	for gpu in a100-sxm4-80gb h100-sxm h200 l40s; do \
	  python -m nmsim calibrate --hardware $$gpu --residual --overwrite || exit 1; \
	done

# After a change of a measured table, or of a GPU's fields: where GEMMs were measured on it.
evidence:
	for gpu in a100-sxm4-80gb h100-sxm h200 l40s rtx3090; do \
	  python -m nmsim calibrate --hardware $$gpu --evidence --overwrite || exit 1; \
	done

# After a change of the Verilog of PEs (extra synth): what synthesis makes of it, a quarter of an hour.
silicon:
	python -c "from nmsim.cost.synthesis.table import make; make()"
