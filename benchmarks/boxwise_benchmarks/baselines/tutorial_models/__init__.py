"""The model.py files of the tutorials' ensemble, which `tutorial.py` copies into its repository."""
