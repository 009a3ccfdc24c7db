"""Tools that do real work offline with installed libraries.

Each is a callable ``run(inputs, arguments, output_dir) -> [{name, type, uri}]``; it runs in a child
process. Heavy libraries are imported inside the functions. Records are JSON lines, one object per
input file, with file names as data.
"""
