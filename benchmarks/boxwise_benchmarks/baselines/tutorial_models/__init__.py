"""The model.py files of the tutorials' ensemble; `tutorial.py` copies each into the folder of its
model.
"""
