"""The flow: from a model, a recipe and a machine to rows, files of results and training runs."""
