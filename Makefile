.PHONY: check test lint format bench

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
