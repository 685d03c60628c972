"How fast the transform, the loading and the training are, beside other libraries: see `python -m bench --help`"
