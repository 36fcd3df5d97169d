"""Figures as plotly draws them: of a run, of a design space, of a validation, in one look."""
