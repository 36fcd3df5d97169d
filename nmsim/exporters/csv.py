"""Rows of a folder of results as one CSV file, as ``results.csv`` has them, however many."""

from nmsim.exporters import EXPORTERS, Exporter
from nmsim.report.results import write_csv

EXPORTERS.add("csv", Exporter("every row as CSV, streamed into one file", file=write_csv))
